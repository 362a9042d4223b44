"""One adapter per origin of model files; each answers with a parcel (`artifacts/source.py`)."""

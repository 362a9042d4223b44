"""One file per command; each holds it as `command`. `cli/table.py` has the list."""

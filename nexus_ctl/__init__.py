"""nexusctl: declare the language models you run, see an exact plan, and have it made and kept true."""

__version__ = "0.1.0"

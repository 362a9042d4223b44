"""Build steps: content-addressed, bounded, locked; which tool does them and what they will make."""

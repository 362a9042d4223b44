"""Bytes on their way: addresses, the one transport, the one download with its partials, and how fast they may go."""

"""Routing: the gateway's table as a value and as an atomically replaced file."""

"""Engines: Deployment → launch specification. Pure; one file per engine."""

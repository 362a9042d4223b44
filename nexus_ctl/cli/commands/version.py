"""`nexusctl version`."""

from __future__ import annotations

import click

from nexus_ctl import __version__


@click.command("version")
def command() -> None:
    """Print the version."""
    click.echo(f"nexusctl {__version__}")

"""`nexusctl version`."""

from __future__ import annotations

import click

from nexus_ctl import __version__
from nexus_ctl.cli.options import output_option
from nexus_ctl.cli.printing import print_value


@click.command("version")
@output_option("text", "json")
def command(*, output: str) -> None:
    """Print the version; as JSON with what it runs on."""
    if output == "text":
        click.echo(f"nexusctl {__version__}")
        return
    import platform

    facts = {"version": __version__, "python": platform.python_version(), "platform": platform.platform()}
    print_value(facts, output)

"""`nexusctl build`: the documents that are planned, with environment, includes and interpolations done."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import stack_options


@click.command("build")
@stack_options
@click.pass_obj
def command(invocation: Invocation, *, files: tuple[str, ...], environment: str | None) -> None:
    """Print the final documents, overlays and interpolations done.

    What is printed loads again, from anywhere, to the same stack. Defaults are left out.
    """
    from nexus_ctl.cli.inputs import load_stack
    from nexus_ctl.manifest.build import to_yaml

    click.echo(to_yaml(load_stack(files, environment)), nl=False)

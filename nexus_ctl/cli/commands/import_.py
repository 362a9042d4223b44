"""`nexusctl import`: what already runs, as manifests to start from. Changes nothing."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option


@click.command("import")
@click.argument("what", metavar="docker/NAME")
@output_option("yaml", "json")
@click.pass_obj
def command(invocation: Invocation, *, what: str, output: str) -> None:
    """Write manifests for a container that runs already.

    A Model and a Deployment: llama-server's words and LLAMA_ARG_ variables become fields, other flags `args`; another
    program becomes a custom engine. What is left out is told on stderr, and secret values are never printed. The
    container is only read. What is printed is checked as `validate` checks it.
    """
    import io
    import json

    from nexus_ctl.cli.inputs import show_warnings
    from nexus_ctl.errors import UsageError
    from nexus_ctl.manifest.build import documents_to_yaml
    from nexus_ctl.manifest.stack import load

    where, slash, name = what.partition("/")
    if where != "docker" or not slash or not name:
        raise UsageError(f"{what!r} names nothing to import", hint="nexusctl import docker/NAME")
    imported = invocation.container(name)
    text = documents_to_yaml(imported.manifests)
    click.echo(
        json.dumps(list(imported.manifests), indent=2, ensure_ascii=False) if output == "json" else text, nl=False
    )
    for note in imported.notes:
        click.echo(f"left out: {note}", err=True)
    show_warnings(load(["-"], stdin=io.StringIO(text)))

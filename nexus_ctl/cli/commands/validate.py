"""`nexusctl validate`: every fault of the manifests at once; touches no world and no state."""

from __future__ import annotations

import json

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, stack_options


@click.command("validate")
@stack_options
@output_option("text", "json")
@click.pass_obj
def command(invocation: Invocation, *, files: tuple[str, ...], environment: str | None, output: str) -> int:
    """Check manifests; touches nothing and needs no runtime.

    Reports every fault with file, line and column. With -o json the faults go to stdout.
    """
    from nexus_ctl.cli.inputs import locked_stack, read_stack
    from nexus_ctl.errors import ManifestError
    from nexus_ctl.views.diagnostics import to_json

    if output == "text":
        stack = locked_stack(files, environment)
        count = len(stack.resources)
        click.echo(f"ok: {count} resource{'' if count == 1 else 's'} in stack {stack.name}")
        return 0
    try:
        stack = read_stack(files, environment)
        if stack.lock_faults:
            raise ManifestError(stack.lock_faults)
    except ManifestError as error:
        click.echo(
            json.dumps({"valid": False, "diagnostics": to_json(error.diagnostics)}, indent=2, ensure_ascii=False)
        )
        return 2
    report = {"valid": True, "resources": len(stack.resources), "diagnostics": to_json(stack.warnings)}
    click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    return 0

"""`nexusctl diff`: declared specs against applied ones. Exit 0 same, 1 different, 2 and more on an error."""

from __future__ import annotations

import sys

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, stack_options
from nexus_ctl.cli.printing import print_value


@click.command("diff")
@stack_options
@click.option("--prune", is_flag=True, help="Also show what is no longer declared.")
@output_option("text", "json")
@click.pass_obj
def command(
    invocation: Invocation, *, files: tuple[str, ...], environment: str | None, prune: bool, output: str
) -> int:
    """Show how declared specs differ from applied ones.

    Exit 0: the same. 1: different. 2 and more: an error. What changed outside nexusctl is drift: see `plan`.
    """
    from nexus_ctl.cli.inputs import load_stack
    from nexus_ctl.cli.objects import look
    from nexus_ctl.cli.terminal import style_for
    from nexus_ctl.views.diff import text, to_json

    stack = load_stack(files, environment)
    with invocation.workspace(stack, invocation.command) as workspace:
        seen = look(workspace)
    declared = {ref: resource.normalised for ref, resource in seen.desired.items()}
    applied = {ref: spec for ref, spec in seen.applied.items() if prune or ref in declared}
    if output == "json":
        rows = to_json(applied, declared)
        print_value(rows, output)
        return 1 if rows else 0
    different = text(applied, declared, style_for(sys.stdout))
    click.echo(different, nl=False)
    return 1 if different else 0

"""`nexusctl history`: the revisions of an object, to which `rollback` can go back."""

from __future__ import annotations

import json

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, stack_options


@click.command("history")
@click.argument("what", metavar="KIND/NAME")
@stack_options
@output_option("table", "json")
@click.pass_obj
def command(invocation: Invocation, *, what: str, files: tuple[str, ...], environment: str | None, output: str) -> None:
    """List the revisions of an object, oldest first; also of one that is gone."""
    from nexus_ctl.cli.inputs import load_stack, no_such, ref_of
    from nexus_ctl.views import history as view

    stack = load_stack(files, environment)
    ref = ref_of(what, stack)
    with invocation.workspace(stack, invocation.command) as workspace:
        revisions = workspace.store.history.revisions(stack.name, ref)
        if not revisions:
            raise no_such(ref, [item.ref for item in workspace.store.objects.all(stack.name)], stack)
        if output == "json":
            click.echo(json.dumps(view.to_json(revisions), indent=2, ensure_ascii=False))
        else:
            click.echo(view.text(revisions, workspace.clock.now()), nl=False)

"""`nexusctl describe`: everything about one object, from the store and a fresh look."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import stack_options


@click.command("describe")
@click.argument("what", metavar="KIND/NAME")
@stack_options
@click.pass_obj
def command(invocation: Invocation, *, what: str, files: tuple[str, ...], environment: str | None) -> None:
    """Show everything about one object: spec, conditions, replicas, revisions, events."""
    from nexus_ctl.cli.inputs import load_stack, no_such, ref_of
    from nexus_ctl.cli.objects import look, objects, replicas_of
    from nexus_ctl.views.describe import text

    stack = load_stack(files, environment)
    ref = ref_of(what, stack)
    with invocation.workspace(stack, invocation.command) as workspace:
        seen = look(workspace, as_applied=True)
        found = {one.ref: one for one in objects(workspace, seen)}
        if ref not in found:
            raise no_such(ref, sorted(found), stack)
        click.echo(
            text(
                found[ref],
                replicas_of(seen, ref),
                workspace.store.history.revisions(stack.name, ref),
                workspace.store.events.read(stack.name, ref),
                workspace.clock.now(),
                backoffs=[one for one in seen.scene.backoffs.values() if one.ref == ref],
            ),
            nl=False,
        )

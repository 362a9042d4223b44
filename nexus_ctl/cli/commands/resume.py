"""`nexusctl resume`: end a suspension made with `suspend`."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import stack_options


@click.command("resume")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME ...")
@stack_options
@click.pass_obj
def command(invocation: Invocation, *, what: tuple[str, ...], files: tuple[str, ...], environment: str | None) -> None:
    """End a suspension. One that is declared (`spec.suspend`) ends in the manifest."""
    from nexus_ctl.cli.inputs import load_stack, no_such, ref_of
    from nexus_ctl.store.records import Event
    from nexus_ctl.views.applied import spoken

    stack = load_stack(files, environment)
    refs = [ref_of(word, stack) for word in what]
    with invocation.workspace(stack, invocation.command) as workspace:
        known = [item.ref for item in workspace.store.objects.all(stack.name)]
        for ref in refs:
            if ref not in known:
                raise no_such(ref, known, stack)
        for ref in refs:
            resumed = workspace.store.objects.resume(stack.name, ref)
            if resumed:
                message = f"resumed by {workspace.actor}"
                workspace.store.events.emit(Event("Normal", "Resumed", message, stack.name, ref, actor=workspace.actor))
            click.echo(f"{spoken(ref)} {'resumed' if resumed else 'was not suspended'}")

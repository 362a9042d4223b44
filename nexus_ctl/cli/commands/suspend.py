"""`nexusctl suspend`: leave an object as it is; observed and reported, neither changed nor healed nor pruned (R26)."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import SPAN, stack_options


@click.command("suspend")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME ...")
@click.option("--reason", default="", metavar="TEXT", help="Shown wherever the suspension is.")
@click.option("--for", "span", type=SPAN, metavar="SPAN", help="End by itself after so long. Default: until resumed.")
@stack_options
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    what: tuple[str, ...],
    reason: str,
    span: float | None,
    files: tuple[str, ...],
    environment: str | None,
) -> None:
    """Leave an object as it is until resumed."""
    from datetime import timedelta

    from nexus_ctl.cli.inputs import load_stack, no_such, ref_of
    from nexus_ctl.clock import stamp
    from nexus_ctl.errors import UsageError
    from nexus_ctl.store.records import Event
    from nexus_ctl.views.applied import spoken

    if span == 0:
        raise UsageError("a suspension for no time would be none", hint="leave --for out, or write 90s, 15m or 1h30m")
    stack = load_stack(files, environment)
    refs = [ref_of(word, stack) for word in what]
    reason = " ".join(reason.split())
    with invocation.workspace(stack, invocation.command) as workspace:
        known = [item.ref for item in workspace.store.objects.all(stack.name)]
        for ref in refs:
            if ref not in known:
                raise no_such(ref, known, stack)
        until = workspace.clock.now() + timedelta(seconds=span) if span is not None else None
        told = f"until {stamp(until)}" if until is not None else "until resumed"
        for ref in refs:
            workspace.store.objects.suspend(stack.name, ref, reason, until)
            message = f"{reason}; {told}" if reason else told
            workspace.store.events.emit(Event("Normal", "Suspended", message, stack.name, ref, actor=workspace.actor))
            click.echo(f"{spoken(ref)} suspended")

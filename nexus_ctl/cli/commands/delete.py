"""`nexusctl delete`: take objects down, in reverse order of dependency; says what stays on disk."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.manner import Manner, manner_options


@click.command("delete")
@click.argument("what", nargs=-1, metavar="[KIND/NAME ...]")
@manner_options
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    what: tuple[str, ...],
    files: tuple[str, ...],
    environment: str | None,
    manner: Manner,
) -> None:
    """Take objects down: the named ones, or with -f all that the files declare.

    Model weights stay in the cache unless their Model says `deletionPolicy: Delete`; the plan says so.
    """
    from controllers.looking import Options
    from nexus_ctl.cli.carry import carry
    from nexus_ctl.cli.inputs import GATEWAY, load_stack, no_such, ref_of
    from nexus_ctl.cli.objects import look
    from nexus_ctl.errors import UsageError
    from nexus_ctl.resources.envelope import Ref

    if not what and not files:
        raise UsageError("say what to delete", hint="name KIND/NAME, or files with -f")
    stack = load_stack(files, environment)
    named = frozenset(ref_of(word, stack) for word in what)
    if any(ref.kind == GATEWAY for ref in named):
        raise UsageError("the gateway goes with the last route", hint="delete the routes")
    going = named or frozenset(stack.resources)
    only = going
    if not any(ref.kind == "Route" for ref in stack.resources.keys() - going):
        only |= {Ref(GATEWAY, stack.name)}
    with invocation.workspace(stack, invocation.command) as workspace:
        if named:
            there = sorted(look(workspace).applied)
            for ref in sorted(named - set(there)):
                raise no_such(ref, there, stack)
        options = Options(delete=going, only=only)
        carry(invocation, workspace, stack, options, manner, asked_for=going)
    still = sorted(str(ref) for ref in named & stack.resources.keys())
    if still and not manner.dry_run:
        click.echo(f"still declared, so the next apply makes it again: {', '.join(still)}", err=True)

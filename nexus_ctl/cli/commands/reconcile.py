"""`nexusctl reconcile`: try again at once what waits for its next try, or was given up after a failed roll-out."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.manner import Manner, manner_options


@click.command("reconcile")
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
    """Make objects as declared now, whatever they died of before.

    As apply, for the named objects or all: replicas that crashed are started without waiting for their turn, one that
    served and answers no more is made anew, and a spec whose roll-out failed is tried once more.
    """
    from controllers.looking import Options
    from nexus_ctl.cli.carry import carry
    from nexus_ctl.cli.inputs import load_stack, no_such, ref_of

    stack = load_stack(files, environment)
    named = frozenset(ref_of(word, stack) for word in what)
    known = sorted(stack.resources)
    for ref in sorted(named - {ref_of("gateway", stack)} - set(known)):
        raise no_such(ref, known, stack)
    retry = named or frozenset({*known, ref_of("gateway", stack)})
    with invocation.workspace(stack, invocation.command) as workspace:
        options = Options(only=named or None, retry=retry)
        carry(invocation, workspace, stack, options, manner, asked_for=retry)

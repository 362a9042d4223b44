"""`nexusctl apply`: the plan, a question where it destroys something, then one line per object."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.manner import Manner, manner_options
from nexus_ctl.cli.options import adopt_option, locked_option


@click.command("apply")
@manner_options
@click.option("--plan", "plan_file", metavar="FILE", help="Carry out this saved plan; refuse if anything moved.")
@click.option("--prune", is_flag=True, help="Also take down what is no longer declared.")
@click.option("--max-prune", type=click.IntRange(0), metavar="N", help="Prune at most N objects. [default: 30 %, or 3]")
@click.option("--refresh", is_flag=True, help="Ask model sources again even for what is here.")
@adopt_option
@locked_option
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    files: tuple[str, ...],
    environment: str | None,
    plan_file: str | None,
    prune: bool,
    max_prune: int | None,
    refresh: bool,
    adopt: str,
    locked: bool,
    manner: Manner,
) -> None:
    """Make the declared true, and wait until it is.

    The plan goes to stderr, progress too; stdout gets one line per object. On a terminal you are asked first; without
    one, a plan that restarts or removes something needs --yes.
    """
    from dataclasses import replace

    from controllers.gateway import KIND as GATEWAY
    from controllers.looking import Options
    from nexus_ctl.cli import saved
    from nexus_ctl.cli.carry import carry
    from nexus_ctl.cli.inputs import locked_stack
    from nexus_ctl.cli.relock import keep_up
    from nexus_ctl.errors import UsageError
    from nexus_ctl.resources.envelope import Ref

    options = Options(prune=prune, max_prune=max_prune, refresh=refresh, adopt=adopt == "if-unowned", upstream=True)
    check = saved.no_check
    if plan_file is not None:
        if files or environment or prune or refresh or adopt != "never" or max_prune is not None or manner.dry_run:
            raise UsageError("--plan carries out what was saved; it takes no selection", hint="leave the others out")
        plan = saved.read(plan_file)
        files, environment, options = plan.files, plan.environment or None, plan.options
        manner, locked = replace(manner, yes=True, environment=plan.environment), locked or plan.locked
        check = plan.check
    stack = locked_stack(files, environment, whole=locked)
    with invocation.workspace(stack, invocation.command) as workspace:
        asked_for = (*stack.resources, Ref(GATEWAY, stack.name))
        carry(invocation, workspace, stack, options, manner, asked_for=asked_for, check=check)
        if not manner.dry_run and not locked:
            keep_up(workspace)

"""`nexusctl plan`: what apply would do, and why; writes nothing but the file it is asked for."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import adopt_option, locked_option, output_option, stack_options


@click.command("plan")
@stack_options
@click.option("--out", metavar="FILE", help="Save the plan for `apply --plan FILE`.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 0 without changes, 2 with changes, 1 on an error.")
@click.option("--prune", is_flag=True, help="Also plan to take down what is no longer declared.")
@click.option("--max-prune", type=click.IntRange(0), metavar="N", help="Prune at most N objects. [default: 30 %, or 3]")
@click.option("--refresh", is_flag=True, help="Ask model sources again even for what is here.")
@adopt_option
@locked_option
@output_option("text", "json")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    files: tuple[str, ...],
    environment: str | None,
    out: str | None,
    detailed_exitcode: bool,
    prune: bool,
    max_prune: int | None,
    refresh: bool,
    adopt: str,
    locked: bool,
    output: str,
) -> int:
    """Show what apply would do, and why.

    Bytes to download, what restarts, what is left alone, how long a name is without service: all of it is decided here
    and apply does exactly this.
    """
    from controllers.looking import Options
    from nexus_ctl.cli import saved
    from nexus_ctl.cli.carry import make_plan, show
    from nexus_ctl.cli.inputs import locked_stack

    options = Options(prune=prune, max_prune=max_prune, refresh=refresh, adopt=adopt == "if-unowned", upstream=True)
    if out is not None:
        saved.check_inputs(files)
    stack = locked_stack(files, environment, whole=locked)
    with invocation.workspace(stack, invocation.command) as workspace:
        plan = make_plan(workspace, stack, options, environment or "")[1]
        if out is not None:
            saved.write(out, plan, files, options, workspace.store.revision(), locked=locked)
        show(workspace, plan, output)
    return 2 if detailed_exitcode and not plan.empty else 0

"""`nexusctl prune`: take down what is no longer declared, and touch nothing else."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import lock_option, output_option, stack_options, timeout_option, yes_option


@click.command("prune")
@stack_options
@yes_option
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.option("--max-prune", type=click.IntRange(0), metavar="N", help="Prune at most N objects. [default: 30 %, or 3]")
@timeout_option
@lock_option
@output_option("text", "json", "name")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    files: tuple[str, ...],
    environment: str | None,
    yes: bool,
    dry_run: bool,
    max_prune: int | None,
    timeout: float | None,
    lock_timeout: float,
    output: str,
) -> None:
    """Take down what is no longer declared, and nothing else.

    The same as `apply --prune`, less what the manifests would change.
    """
    from controllers.reconciler import Options
    from nexus_ctl.cli.carry import Manner, carry, make_plan
    from nexus_ctl.cli.inputs import load_stack

    stack = load_stack(files, environment)
    manner = Manner(yes, output, timeout, lock_timeout, dry_run, environment or "")
    with invocation.workspace(stack, invocation.command) as workspace:
        orphans = frozenset(make_plan(workspace, stack, Options())[1].orphans)
        options = Options(prune=True, max_prune=max_prune, only=orphans)
        carry(invocation, workspace, stack, options, manner, asked_for=())

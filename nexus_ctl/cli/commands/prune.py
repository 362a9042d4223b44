"""`nexusctl prune`: take down what is no longer declared, and touch nothing else."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.manner import Manner, manner_options


@click.command("prune")
@manner_options
@click.option("--max-prune", type=click.IntRange(0), metavar="N", help="Prune at most N objects. [default: 30 %, or 3]")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    files: tuple[str, ...],
    environment: str | None,
    max_prune: int | None,
    manner: Manner,
) -> None:
    """Take down what is no longer declared, and nothing else.

    The same as `apply --prune`, less what the manifests would change.
    """
    from controllers.looking import Options
    from nexus_ctl.cli.carry import carry, make_plan
    from nexus_ctl.cli.inputs import load_stack

    stack = load_stack(files, environment)
    with invocation.workspace(stack, invocation.command) as workspace:
        orphans = frozenset(make_plan(workspace, stack, Options())[1].orphans)
        options = Options(prune=True, max_prune=max_prune, only=orphans)
        carry(invocation, workspace, stack, options, manner, asked_for=())

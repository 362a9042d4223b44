"""`nexusctl top`: what running replicas use of the machine, and what they have in flight."""

from __future__ import annotations

import json

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import SPAN, output_option, stack_options


@click.command("top")
@click.option("--interval", type=SPAN, default=0.5, metavar="SPAN", help="Measure CPU over so long. [default: 500ms]")
@stack_options
@output_option("table", "json")
@click.pass_obj
def command(
    invocation: Invocation, *, interval: float, files: tuple[str, ...], environment: str | None, output: str
) -> None:
    """Show what replicas use of the machine.

    CPU in percent of one core, resident memory with the mapped model file, requests in flight as the gateway counts.
    GPU memory that a container's process holds without the engine knowing of it is named on stderr.
    """
    from nexus_ctl.cli.inputs import load_stack
    from nexus_ctl.planning.machine import holding_words
    from nexus_ctl.resources.replica import ReplicaState
    from nexus_ctl.views import top as view
    from nexus_ctl.views.table import age

    stack = load_stack(files, environment)
    with invocation.workspace(stack, invocation.command) as workspace:
        world = workspace.session.world
        everything = {one.name: one for one in (*world.host.list(), *world.runtime.list())}
        running = [
            (one, one.owner)
            for _, one in sorted(everything.items())
            if one.state is ReplicaState.RUNNING and one.owner is not None and one.owner.set == stack.name
        ]
        usage = workspace.usage([one.pid for one, _ in running if one.pid is not None], interval)
        now = workspace.clock.now()
        rows = [
            view.Row(
                replica=one.name,
                object=f"{owner.kind.lower()}/{owner.name}",
                pid=one.pid,
                usage=usage.get(one.pid) if one.pid is not None else None,
                in_flight=world.routing.in_flight(one.name) if owner.kind == "Deployment" else None,
                up=age(one.started_at, now),
            )
            for one, owner in running
        ]
        leftovers = [one for one in world.gpus(list(everything.values())).holders if one.forgotten]
    if output == "json":
        click.echo(json.dumps(view.to_json(rows), indent=2))
    else:
        click.echo(view.text(rows), nl=False)
    for left in leftovers:
        click.echo(f"note: {holding_words(left)}", err=True)

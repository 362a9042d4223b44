"""`nexusctl events`: what happened, from the store; no runtime is asked."""

from __future__ import annotations

import json
import sys

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, stack_options

WATCH_SECONDS = 0.5


@click.command("events")
@click.argument("what", required=False, metavar="[KIND/NAME]")
@click.option("-w", "--watch", is_flag=True, help="Go on with what happens from now.")
@stack_options
@output_option("table", "json")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    what: str | None,
    watch: bool,
    files: tuple[str, ...],
    environment: str | None,
    output: str,
) -> None:
    """Show what happened, oldest first.

    With --watch -o json, one JSON object per line.
    """
    from nexus_ctl.cli.inputs import load_stack, ref_of
    from nexus_ctl.views import events as view

    stack = load_stack(files, environment)
    ref = ref_of(what, stack) if what else None
    with invocation.workspace(stack, invocation.command) as workspace:
        found = workspace.store.events.read(stack.name, ref)
        if not watch:
            if output == "json":
                click.echo(json.dumps(view.to_json(found), indent=2, ensure_ascii=False))
            else:
                click.echo(view.text(found, workspace.clock.now()), nl=False)
            return
        last = 0
        while True:
            for one in found:
                as_json = output == "json"
                click.echo(json.dumps(view.to_json([one])[0], ensure_ascii=False) if as_json else view.line(one))
            sys.stdout.flush()
            last = found[-1].id if found else last
            workspace.clock.sleep(WATCH_SECONDS)
            found = workspace.store.events.read(stack.name, ref, after=last)

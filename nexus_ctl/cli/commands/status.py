"""`nexusctl status`: the whole stack on one page."""

from __future__ import annotations

import json
import sys

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, stack_options


@click.command("status")
@stack_options
@output_option("text", "json")
@click.pass_obj
def command(invocation: Invocation, *, files: tuple[str, ...], environment: str | None, output: str) -> None:
    """Show gateway, replicas and models, and what is wrong."""
    from controllers.reconciler import assess
    from nexus_ctl.cli.inputs import load_stack
    from nexus_ctl.cli.objects import declared_otherwise, look, objects, replicas_of
    from nexus_ctl.cli.terminal import style_for
    from nexus_ctl.resources.conditions import is_ready
    from nexus_ctl.resources.kinds import KINDS
    from nexus_ctl.views import status as view
    from nexus_ctl.views.applied import spoken

    stack = load_stack(files, environment)
    with invocation.workspace(stack, invocation.command) as workspace:
        seen = look(workspace, as_applied=True)
        found = objects(workspace, seen)
        there = {one.ref for one in found}
        # An image that is here is as declared, whoever brought it.
        needless = {ref for ref, one in assess(seen).items() if ref.kind not in KINDS and is_ready(one.conditions)}
        status = view.Status(
            set=stack.name,
            gateway_url=workspace.gateway_url,
            objects=tuple(found),
            replicas=tuple(view for ref in sorted(seen.observed) for view in replicas_of(seen, ref)),
            missing=tuple(spoken(ref) for ref in sorted(seen.desired.keys() - there - needless)),
            ahead=tuple(spoken(ref) for ref in declared_otherwise(stack, seen)),
            backoffs=seen.scene.backoffs,
            undeclared=tuple(spoken(ref) for ref in sorted(there - seen.desired.keys())),
        )
        now = workspace.clock.now()
    if output == "json":
        click.echo(json.dumps(view.to_json(status), indent=2, ensure_ascii=False))
    else:
        click.echo(view.text(status, now, style_for(sys.stdout)), nl=False)

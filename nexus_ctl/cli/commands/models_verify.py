"""`nexusctl models verify`: read every byte again and hold it against the lock, or what was proven when it came."""

from __future__ import annotations

import json

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, stack_options


@click.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@stack_options
@output_option("table", "json")
@click.pass_obj
def command(
    invocation: Invocation, *, names: tuple[str, ...], files: tuple[str, ...], environment: str | None, output: str
) -> int:
    """Read the files of models again and tell which are not what they should be.

    They are held against nexus.lock, else against the digests they were proven by when they came. A corrupt file of the
    cache is put aside and the next apply brings it again. What was built here to other bytes than nexus.lock pins
    differs. Exits 1 when a file is corrupt, missing or differs.
    """
    from controllers.model.requests import declared_request
    from nexus_ctl.cli.inputs import chosen_models, readable_lock
    from nexus_ctl.cli.progress import told_plainly
    from nexus_ctl.resources.artifact import Progress, Verdict
    from nexus_ctl.views import lock as view

    stack = readable_lock(files, environment)
    found: dict[str, tuple[Verdict, ...]] = {}
    with invocation.workspace(stack, invocation.command) as workspace:
        tell = told_plainly(workspace.clock)
        for name in chosen_models(stack, names):

            def progress(step: Progress, name: str = name) -> None:
                tell(name, step)

            verdicts = workspace.session.world.artifacts.verify(declared_request(stack, name), progress)
            found[name] = verdicts or (Verdict("-", "", "missing", 0, ""),)
    if output == "json":
        click.echo(json.dumps(view.verdicts_json(found), indent=2, ensure_ascii=False))
    else:
        click.echo(view.verdicts_text(found), nl=False)
    states = [one.state for verdicts in found.values() for one in verdicts]
    bad, other = len([state for state in states if state in ("corrupt", "missing")]), states.count("differs")
    if bad:
        click.echo(f"{bad} not as it should be; to bring it again, run\n  nexusctl apply", err=True)
    if other:
        click.echo(
            f"{other} built otherwise than locked; to pin what is here\n  nexusctl models lock --rebuilt", err=True
        )
    return 1 if bad or other else 0

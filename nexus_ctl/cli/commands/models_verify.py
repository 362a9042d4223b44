"""`nexusctl models verify`: read every byte again and hold it against the lock, or what was proven when it came; with
`--remote` hold what is here against what its source says now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from nexus_ctl.cli.invocation import Invocation, Workspace
from nexus_ctl.cli.options import output_option, stack_options

if TYPE_CHECKING:
    from nexus_ctl.resources.artifact import RemoteFinding, Request, Verdict

NOT_HERE = "nothing is held of it; to bring it, run\n  nexusctl apply"


@click.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--remote", is_flag=True, help="Ask the sources what they have now, and read and download no model.")
@stack_options
@output_option("table", "json")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    names: tuple[str, ...],
    remote: bool,
    files: tuple[str, ...],
    environment: str | None,
    output: str,
) -> int:
    """Read the files of models again and tell which are not what they should be.

    They are held against nexus.lock, else against the digests they were proven by when they came. A corrupt file of the
    cache is put aside and the next apply brings it again. What was built here to other bytes than nexus.lock pins
    differs. Exits 1 when a file is corrupt, missing or differs.

    With --remote nothing is read again: what is held or locked is compared with what its source says now, a branch that
    moved, files that changed or are gone, access, licence. Exits 1 when anything is another, or could not be asked.
    """
    from controllers.model.requests import declared_request
    from nexus_ctl.cli.inputs import chosen_models, readable_lock

    stack = readable_lock(files, environment)
    with invocation.workspace(stack, invocation.command) as workspace:
        asked = {name: declared_request(stack, name) for name in chosen_models(stack, names)}
        return _remote(workspace, asked, output) if remote else _here(workspace, asked, output)


def _here(workspace: Workspace, asked: Mapping[str, Request], output: str) -> int:
    from nexus_ctl.cli.progress import told_plainly
    from nexus_ctl.resources.artifact import Progress, Verdict
    from nexus_ctl.views import lock as view

    tell = told_plainly(workspace.clock)
    found: dict[str, tuple[Verdict, ...]] = {}
    for name, request in asked.items():

        def progress(step: Progress, name: str = name) -> None:
            tell(name, step)

        verdicts = workspace.session.world.artifacts.verify(request, progress)
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


def _remote(workspace: Workspace, asked: Mapping[str, Request], output: str) -> int:
    from nexus_ctl.views import lock as view

    world = workspace.session.world
    found: dict[str, tuple[RemoteFinding, ...]] = {}
    for name, request in asked.items():
        token = world.secret(request.source.token.value_from) if request.source.token is not None else None
        found[name] = world.artifacts.verify_remote(request, token)
    if output == "json":
        click.echo(json.dumps(view.remote_json(found), indent=2, ensure_ascii=False))
    else:
        click.echo(view.remote_text(found), nl=False)
    for name in [name for name, findings in found.items() if not findings]:
        here = asked[name].source.path is not None
        click.echo(f"{name}: {'a file of this machine, which has no source to ask' if here else NOT_HERE}", err=True)
    states = [one.state for findings in found.values() for one in findings if one.state != "ok"]
    if unknown := states.count("unknown"):
        click.echo(f"{unknown} could not be asked; what is here is unchanged", err=True)
    if others := len(states) - unknown:
        click.echo(f"{others} not as held; to follow a source\n  nexusctl models lock --upgrade", err=True)
    return 1 if states else 0

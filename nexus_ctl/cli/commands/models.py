"""`nexusctl models`: the registry's commands; here the files of the model cache, and the removal of unused ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from nexus_ctl.cli.commands.models_diff import command as diff
from nexus_ctl.cli.commands.models_estimate import command as estimate
from nexus_ctl.cli.commands.models_files import command as files_
from nexus_ctl.cli.commands.models_lock import command as lock
from nexus_ctl.cli.commands.models_rate import command as rate
from nexus_ctl.cli.commands.models_recommend import command as recommend
from nexus_ctl.cli.commands.models_search import command as search
from nexus_ctl.cli.commands.models_show import command as show
from nexus_ctl.cli.commands.models_verify import command as verify
from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, stack_options, yes_option
from nexus_ctl.cli.printing import print_value

if TYPE_CHECKING:
    from nexus_ctl.artifacts.records import Layout
    from nexus_ctl.resources.catalog import Rating
    from nexus_ctl.resources.declared import Stack
    from nexus_ctl.views.models import ModelFile


@click.group("models")
def command() -> None:
    """Find models, see what fits this machine, pin, verify, list and remove the files that are here."""


for one in (search, show, files_, recommend, estimate, lock, verify, diff, rate):
    command.add_command(one)


@command.command("list")
@stack_options
@output_option("table", "json")
@click.pass_obj
def list_(invocation: Invocation, *, files: tuple[str, ...], environment: str | None, output: str) -> None:
    """List the files of the cache, which stacks use them, and what people think of the models."""
    from nexus_ctl.cli.inputs import load_stack
    from nexus_ctl.cli.ratings import ratings_of
    from nexus_ctl.views import models as view

    stack = load_stack(files, environment)
    with invocation.workspace(stack, invocation.command) as workspace:
        found = sorted(_files(workspace.cache, stack, ratings_of(workspace)), key=lambda one: one.origin)
    if output == "json":
        click.echo(json.dumps(view.to_json(found), indent=2, ensure_ascii=False))
    else:
        click.echo(view.text(found), nl=False)


def _files(cache: Layout, stack: Stack, ratings: Sequence[Rating]) -> Iterator[ModelFile]:
    from nexus_ctl.artifacts.collect import digests_of
    from nexus_ctl.views.model_use import subjects_of
    from nexus_ctl.views.models import ModelFile

    held = [(pin, digests_of(cache, pin)) for pin in cache.read_pins()]
    for record in cache.records():
        content = {file.sha256 for file in record.files}
        used_by = sorted({(pin.set, pin.model) for pin, has in held if pin.key == record.key or content <= has})
        ours = [subjects_of(stack, model) for set_name, model in used_by if set_name == stack.name]
        if record.hub is not None:
            ours.append(frozenset({f"hf:{record.hub.get('repo')}"}))
        thought = tuple(one for one in ratings if any(one.subject in subjects for subjects in ours))
        names = tuple(f"{set_name}/{model}" for set_name, model in used_by)
        yield ModelFile(record.sha256, record.size_bytes, record.origin, record.fetched_at, names, thought)


@command.command("gc")
@stack_options
@yes_option
@click.option("--dry-run", is_flag=True, help="Only list what would go.")
@output_option("table", "json")
@click.pass_obj
def gc(
    invocation: Invocation, *, files: tuple[str, ...], environment: str | None, yes: bool, dry_run: bool, output: str
) -> None:
    """Remove files that no stack uses, and what interrupted downloads and builds left.

    Never touched: what any stack of this user pins, what a replica of this stack was made with, what a running
    download or build works on, what came within the last hour.
    """
    from datetime import timedelta

    from nexus_ctl.artifacts.collect import collect, garbage
    from nexus_ctl.cli.inputs import load_stack
    from nexus_ctl.errors import Blocked
    from nexus_ctl.planning.sizes import human_bytes
    from nexus_ctl.views.models import garbage as listed
    from nexus_ctl.views.models import garbage_json

    stack = load_stack(files, environment)
    with invocation.workspace(stack, invocation.command) as workspace:
        world = workspace.session.world
        in_use = frozenset(
            path for runtime in (world.runtime, world.host) for one in runtime.list() for path in one.files
        )
        items = garbage(workspace.cache, workspace.clock, in_use=in_use)
        aside = not dry_run or output == "json"
        rows = [(one.kind, one.path, one.size_bytes) for one in items]
        click.echo(listed(rows), nl=False, err=aside)
        later = set(garbage(workspace.cache, workspace.clock, timedelta(0), in_use=in_use)).difference(items)
        if later:
            size = human_bytes(sum(one.size_bytes for one in later))
            click.echo(f"note: {size} that nothing uses came within the last hour and may go after it", err=True)
        if dry_run or not items:
            if output == "json":
                print_value(garbage_json(rows, ()), output)
            return
        if not yes:
            if not invocation.interactive():
                raise Blocked(
                    "this removes files, and nobody is here to be asked",
                    hint=f"{invocation.command} --yes",
                    code="not-confirmed",
                    summary="a confirmation is missing",
                )
            if not click.confirm("Remove them?", err=True):
                raise Blocked(
                    "not confirmed; nothing was removed", code="not-confirmed", summary="a confirmation is missing"
                )
        removed = collect(workspace.cache, workspace.clock, items, in_use=in_use)
        if output == "json":
            print_value(garbage_json(rows, {one.path for one in removed}), output)
        else:
            click.echo(f"{len(removed)} removed, {human_bytes(sum(one.size_bytes for one in removed))} free")

"""`nexusctl get`: objects and their state, from the store and a fresh look."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from nexus_ctl.cli.invocation import Invocation, Workspace
from nexus_ctl.cli.options import output_option, stack_options
from nexus_ctl.cli.printing import print_value

if TYPE_CHECKING:
    from nexus_ctl.views.objects import ObjectView

WATCH_SECONDS = 1.0


@click.command("get")
@click.argument("what", nargs=-1, required=True, metavar="KIND|KIND/NAME|all ...")
@stack_options
@click.option("-l", "--selector", metavar="LABELS", help="Only objects with these labels: a=b,c!=d,e,!f.")
@click.option("-w", "--watch", is_flag=True, help="Go on, with a line for each object that changes.")
@click.option("--no-headers", is_flag=True, help="Leave the header line out.")
@click.option("--show-labels", is_flag=True, help="Add a column of labels.")
@output_option("table", "wide", "json", "yaml", "name")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    what: tuple[str, ...],
    files: tuple[str, ...],
    environment: str | None,
    selector: str | None,
    watch: bool,
    no_headers: bool,
    show_labels: bool,
    output: str,
) -> None:
    """List objects and their state.

    `get deployments`, `get deployment/chat`, `get all`. Kinds may be shortened as `explain` shows them.
    """
    from nexus_ctl.cli import objects
    from nexus_ctl.cli.inputs import kinds_of, load_stack, no_such, ref_of
    from nexus_ctl.errors import UsageError
    from nexus_ctl.views import objects as view

    stack = load_stack(files, environment)
    labels = objects.selector(selector)
    named = [ref_of(word, stack) for word in what if "/" in word]
    kinds = kinds_of([word for word in what if "/" not in word and word != "all"])
    if watch and output not in ("table", "wide"):
        raise UsageError("--watch prints tables", hint="leave -o out, or take -o wide")

    def found(workspace: Workspace) -> list[ObjectView]:
        everything = objects.objects(workspace)
        known = [one.ref for one in everything]
        for ref in named:
            if ref not in known:
                raise no_such(ref, known, stack)
        return [
            one
            for one in everything
            if labels(one.labels) and ("all" in what or one.ref.kind in kinds or one.ref in named)
        ]

    def rows(workspace: Workspace, of: list[ObjectView], headers: bool) -> str:
        many = len({one.ref.kind for one in of}) > 1 or "all" in what
        return view.tables(
            of,
            workspace.clock.now(),
            wide=output == "wide",
            show_labels=show_labels,
            show_headers=headers,
            qualified=many,
        )

    with invocation.workspace(stack, invocation.command) as workspace:
        shown = found(workspace)
        if output in ("json", "yaml"):
            one = shown[0] if len(what) == 1 and named and shown else None
            print_value(view.to_json(one) if one else view.list_json(shown), output)
        elif output == "name":
            click.echo(view.names(shown), nl=False)
        elif not shown:
            click.echo(f"nothing of that in set {stack.name}; see what is declared with:\n  nexusctl plan", err=True)
        else:
            click.echo(rows(workspace, shown, not no_headers), nl=False)
        before = {one.ref: _seen(one) for one in shown}
        while watch:
            sys.stdout.flush()
            workspace.clock.sleep(WATCH_SECONDS)
            shown = [one for one in _or_gone(found, workspace) if before.get(one.ref) != _seen(one)]
            before |= {one.ref: _seen(one) for one in shown}
            click.echo(rows(workspace, shown, False), nl=False)


def _or_gone(found: object, workspace: Workspace) -> list[ObjectView]:
    from nexus_ctl.errors import UsageError

    try:
        return found(workspace)  # type: ignore[operator,no-any-return]
    except UsageError:
        return []


def _seen(one: ObjectView) -> tuple[object, ...]:
    """What a watcher wants to hear of; its age alone is no news."""
    return one.generation, one.status, one.columns, one.ready and one.ready.status, one.lifecycle

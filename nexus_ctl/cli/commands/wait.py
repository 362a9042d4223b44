"""`nexusctl wait`: until objects are in a state, they cannot come to it, or the time is up (R30)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import SPAN, stack_options

if TYPE_CHECKING:
    from nexus_ctl.views.objects import ObjectView

LOOK_SECONDS = 0.5

Goal = Callable[["ObjectView | None"], bool]


@click.command("wait")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME ...")
@click.option(
    "--for",
    "goals",
    multiple=True,
    default=("condition=Ready",),
    show_default=True,
    metavar="GOAL",
    help="condition=TYPE[=STATUS], create or delete; several mean any of them.",
)
@click.option("--timeout", type=SPAN, default=900.0, metavar="SPAN", help="Exit 5 after so long. [default: 15m]")
@stack_options
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    what: tuple[str, ...],
    goals: tuple[str, ...],
    timeout: float,
    files: tuple[str, ...],
    environment: str | None,
) -> None:
    """Wait until an object is in a state.

    Returns at once with exit 4 when an object has failed for good. Exit 5 when the time is up.
    """
    from nexus_ctl.cli.inputs import load_stack, no_such, ref_of
    from nexus_ctl.cli.objects import objects
    from nexus_ctl.errors import DeadlineExceeded, Terminal
    from nexus_ctl.views.applied import spoken
    from nexus_ctl.views.events import line

    stack = load_stack(files, environment)
    refs = [ref_of(word, stack) for word in what]
    met = _goal(goals)
    may_be_absent = any(goal in ("create", "delete") for goal in goals)
    with invocation.workspace(stack, invocation.command) as workspace:
        clock = workspace.clock
        deadline = clock.monotonic() + timeout
        left = list(refs)
        while True:
            found = {one.ref: one for one in objects(workspace)}
            for ref in list(left):
                one = found.get(ref)
                if one is None and not may_be_absent:
                    raise no_such(ref, sorted(found), stack)
                if met(one):
                    left.remove(ref)
                    click.echo(f"{spoken(ref)} {' or '.join(goals)} met")
                elif one is not None and _failed(one) and "delete" not in goals:
                    why = one.ready.message if one.ready else str(one.status)
                    hint = f"nexusctl describe {spoken(ref)}"
                    raise Terminal(f"{ref}: {why}", hint=hint, code="object-failed", summary="an object has failed")
            if not left:
                return
            if clock.monotonic() >= deadline:
                last = [line(event) for ref in left for event in workspace.store.events.read(stack.name, ref)[-3:]]
                state = [f"{ref}: {_state(found.get(ref))}" for ref in left]
                raise DeadlineExceeded(
                    "\n".join([f"{' or '.join(goals)} not met within {timeout:g} s", *state, *last]),
                    hint=f"nexusctl describe {spoken(left[0])}",
                    summary="the time is up",
                )
            clock.sleep(LOOK_SECONDS)


def _goal(goals: Sequence[str]) -> Goal:
    tests = [_test(goal) for goal in goals]
    return lambda one: any(test(one) for test in tests)


def _test(goal: str) -> Goal:
    from difflib import get_close_matches

    from nexus_ctl.errors import UsageError
    from nexus_ctl.resources.conditions import TYPES

    if goal == "delete":
        return lambda one: one is None
    if goal == "create":
        return lambda one: one is not None
    word, _, rest = goal.partition("=")
    kind, _, status = rest.partition("=")
    if word != "condition" or not kind:
        raise UsageError(f"{goal!r} is no goal", hint="write condition=Ready, condition=Ready=False, create or delete")
    wanted = (kind.lower(), (status or "True").lower())
    known = {one.lower(): one for one in TYPES}
    if wanted[0] not in known or wanted[1] not in ("true", "false", "unknown"):
        close = get_close_matches(wanted[0], known, n=1)
        hint = f'did you mean "condition={known[close[0]]}"?' if close else f"one of: {', '.join(sorted(TYPES))}"
        if wanted[0] in known:
            hint = "one of: True, False, Unknown"
        raise UsageError(f"{goal!r} never comes true", hint=hint)

    def met(one: ObjectView | None) -> bool:
        return one is not None and wanted in [(c.type.lower(), c.status.lower()) for c in one.conditions]

    return met


def _failed(one: ObjectView) -> bool:
    return one.status.word == "Failed" or one.lifecycle.startswith("FAILED")


def _state(one: ObjectView | None) -> str:
    if one is None:
        return "not there"
    return f"{one.status}{': ' + one.ready.message if one.ready and one.ready.message else ''}"

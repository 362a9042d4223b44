"""Plan → ask → carry out → lines and exit code: what `apply`, `delete`, `prune` and `rollback` have in common.

The lock is held from the look to the end, so that nothing moves between what was shown and what is done.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace

import click

from controllers.cycle import Result, carry_out, plan_for
from controllers.endings import Ending, ObjectResult
from controllers.looking import Look, Options
from nexus_ctl.cli.interrupt import Interrupts
from nexus_ctl.cli.invocation import Invocation, Workspace
from nexus_ctl.cli.manner import Manner
from nexus_ctl.cli.progress import live
from nexus_ctl.cli.terminal import style_for
from nexus_ctl.errors import ActionError, Blocked, DeadlineExceeded, Interrupted
from nexus_ctl.planning.plan import Plan
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.views import applied
from nexus_ctl.views import plan as plan_view

POLICY = frozenset({"protected", "in_use", "suspended"})
"""Reasons by which something is forbidden rather than impossible."""


Check = Callable[[Plan], None]


def make_plan(workspace: Workspace, stack: Stack, options: Options, environment: str = "") -> tuple[Look, Plan]:
    """Look and decide; the plan says which environment and runtime it is for."""
    seen, plan = plan_for(workspace.session, stack, options)
    return seen, replace(plan, environment=environment, runtime=workspace.note)


def show(workspace: Workspace, plan: Plan, output: str) -> None:
    """The plan itself, as data on stdout."""
    revision = workspace.store.revision()
    if output == "json":
        click.echo(json.dumps(plan_view.to_json(plan, store_revision=revision), indent=2, ensure_ascii=False))
    else:
        click.echo(plan_view.text(plan, store_revision=revision, style=style_for(sys.stdout)), nl=False)


def carry(
    invocation: Invocation,
    workspace: Workspace,
    stack: Stack,
    options: Options,
    manner: Manner,
    *,
    asked_for: Iterable[Ref],
    check: Check = lambda plan: None,
) -> None:
    """Plan, ask, carry out and tell. `asked_for` are the objects whose blocking is a failure of this very command.

    Raises what the exit code says: ActionError, Blocked, DeadlineExceeded, Interrupted, and `check`'s own refusal.
    """
    if manner.dry_run:
        show(workspace, make_plan(workspace, stack, options, manner.environment)[1], manner.output)
        return
    with workspace.lock(manner.lock_timeout):
        seen, plan = make_plan(workspace, stack, options, manner.environment)
        check(plan)
        style = style_for(sys.stderr)
        click.echo(plan_view.text(plan, store_revision=workspace.store.revision(), style=style), err=True)
        _ask(invocation, plan, manner)
        clock, timeout = workspace.clock, manner.timeout
        deadline = clock.monotonic() + timeout if timeout is not None else float("inf")
        with Interrupts() as interrupts, live(clock) as report:
            result = carry_out(
                workspace.session,
                stack,
                seen,
                plan,
                report=report,
                cancelled=lambda: interrupts.asked or clock.monotonic() >= deadline,
            )
    _tell(plan, result, manner)
    if interrupts.asked:
        raise Interrupted(
            "what was in flight is finished; what is left is done by the next apply", hint="nexusctl apply"
        )
    if clock.monotonic() >= deadline and any(one.ending is Ending.SKIPPED for one in result.objects):
        assert timeout is not None
        raise DeadlineExceeded(f"not done within {timeout:g} s", hint="nexusctl apply", summary="the time is up")
    _raise_failures(result, frozenset(asked_for))


def _ask(invocation: Invocation, plan: Plan, manner: Manner) -> None:
    """A yes to the plan, where one is needed. Raises Blocked."""
    if manner.yes or not plan.nodes:
        return
    if invocation.interactive():
        if not click.confirm("Carry this out?", err=True):
            raise Blocked("not confirmed; nothing was done", code="not-confirmed", summary="a confirmation is missing")
    elif plan.destroys:
        raise Blocked(
            "this plan restarts or removes something, and nobody is here to be asked",
            hint=f"{invocation.command} --yes",
            code="not-confirmed",
            summary="a confirmation is missing",
        )


def _tell(plan: Plan, result: Result, manner: Manner) -> None:
    objects = [_applied(one) for one in result.objects]
    if manner.output == "json":
        click.echo(json.dumps(applied.to_json(plan.set, objects), indent=2, ensure_ascii=False))
    elif manner.output == "name":
        click.echo(applied.names(objects), nl=False)
    else:
        click.echo(applied.lines(objects, style_for(sys.stdout)), nl=False)


def _applied(one: ObjectResult) -> applied.Applied:
    code = one.error.code if one.error is not None else ""
    detail = one.detail.partition("\n")[0] if one.ending is Ending.FAILED else one.detail
    return applied.Applied(one.ref, one.ending.value, detail, code)


def _raise_failures(result: Result, asked_for: frozenset[Ref]) -> None:
    bad = [one for one in result.objects if one.ending in (Ending.FAILED, Ending.REVERTED, Ending.SKIPPED)]
    held = [one for one in result.objects if one.ending is Ending.BLOCKED and one.ref in asked_for]
    codes = {change.ref: change.codes[0] for change in result.plan.blocked}
    impossible = [one for one in held if codes[one.ref] not in POLICY]
    forbidden = [one for one in held if codes[one.ref] in POLICY]
    if bad or impossible:
        hints = [one.error.hint for one in bad if one.error is not None and one.error.hint]
        raise ActionError(
            _list([*bad, *impossible]),
            hint=hints[0] if hints else "",
            code="objects-failed",
            summary="some objects are not as declared",
        )
    if forbidden:
        raise Blocked(_list(forbidden))


def _list(objects: Iterable[ObjectResult]) -> str:
    return "\n".join(f"{one.ref}: {one.detail or one.ending}" for one in objects)

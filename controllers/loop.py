"""The loop: keep true what was applied last, until told to stop (`nexusctl serve`).

    wait (notice, timer, resync, somebody's turn) → take the lock → look → plan over the last applied wish
        → nothing due: write down what is true  |  something due: carry that out, and look again

It holds no state that matters: killed at any step, the next run looks and goes on. It decides nothing itself: *what* is
the plan's, *when* is `agenda`'s. It gives way: while somebody waits for the lock it starts nothing and lets go.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from controllers import agenda as agendas
from controllers.agenda import Agenda, Failure
from controllers.cycle import carry_out, see, settle
from controllers.endings import Ending, ObjectResult
from controllers.looking import Options
from controllers.reconciler import reconcile
from controllers.session import Session
from nexus_ctl.clock import Ids
from nexus_ctl.errors import LockBusy, NexusError, Terminal
from nexus_ctl.execution.report import Report
from nexus_ctl.planning.action import RemoveReplica, StopReplica, subject
from nexus_ctl.planning.plan import Plan
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Metadata, Ref, Resource
from nexus_ctl.resources.kinds import KINDS
from nexus_ctl.resources.stack import StackSpec
from nexus_ctl.runtimes.watch import Notice, ReplicaEvent
from nexus_ctl.store.store import Store

ENDS = frozenset({"die", "oom", "destroy"})
"""Events that interrupt work, unless it is the work that ends the replica; all others wait until it is done."""
ENDED = frozenset({"engine-exited", "out-of-memory"})
"""Errors that are Terminal for one start and no reason to give up: the replica's own back-off says when to go on."""


class Inbox(Protocol):
    """Where notices arrive."""

    def wait(self, seconds: float) -> bool:
        """True as soon as something has come, False after so long."""
        ...

    def take(self) -> tuple[Notice, ...]:
        """All that has come, leaving nothing."""
        ...


Tell = Callable[[ObjectResult | NexusError], None]


@dataclass(frozen=True, slots=True)
class Loop:
    """One run of the loop; `session` is the template of each turn's."""

    session: Session
    ids: Ids
    inbox: Inbox
    turn: Callable[[], AbstractContextManager[object]]
    """The state lock, for one turn. Raises LockBusy."""
    wanted: Callable[[], bool]
    """Whether somebody waits for it."""
    stopped: Callable[[], bool]
    tell: Tell
    report: Report
    chance: Callable[[], float]
    resync_seconds: float = agendas.RESYNC_SECONDS

    def run(self) -> None:
        """Until stopped."""
        agenda, clock = Agenda(look_at=self.session.clock.monotonic()), self.session.clock
        while not self.stopped():
            pause = agenda.look_at - clock.monotonic()
            if pause <= 0:
                agenda = self.step(agenda)
            elif self.inbox.wait(pause):
                self.inbox.take()
                agenda = agendas.noticed(agenda, clock.monotonic())

    def step(self, agenda: Agenda) -> Agenda:
        """One turn: look, and do what is due."""
        clock = self.session.clock
        try:
            if self.wanted():
                raise LockBusy("somebody waits for a turn")
            with self.turn():
                return self._turn(agenda)
        except LockBusy:
            return replace(agenda, look_at=clock.monotonic() + agendas.CALM_SECONDS)
        except NexusError as error:
            self.tell(error)
            return agendas.blind(agenda, clock.monotonic())

    def _turn(self, agenda: Agenda) -> Agenda:
        self.inbox.take()  # what came before this look is seen by it
        session = replace(self.session, op_id=self.ids.hex(8))
        clock, set_name = session.clock, session.scene.set
        stack, going = wish(session.store, set_name)
        options = Options(keeping=True, delete=going)
        seen = see(session, stack, options)
        generations = {ref: entry.generation for ref, entry in seen.recorded.items()}
        due = agendas.due(agenda, reconcile(stack, seen, options), generations, clock.monotonic())
        if not due:
            settle(session, seen)
            waits = [one.seconds_left(seen.scene.now) for one in seen.scene.backoffs.values()]
            return agendas.rested(
                agenda, clock.monotonic(), waits, resync_seconds=self.resync_seconds, chance=self.chance()
            )
        plan = reconcile(stack, seen, replace(options, only=due))
        result = carry_out(session, stack, seen, plan, report=self.report, cancelled=self._interrupted(plan))
        for one in result.objects:
            if one.ending is not Ending.UNCHANGED:
                self.tell(one)
        failures = [_failure(one) for one in result.objects if one.ending is Ending.FAILED]
        return agendas.worked(agenda, clock.monotonic(), {ref: generations.get(ref, 0) for ref in due}, failures)

    def _interrupted(self, plan: Plan) -> Callable[[], bool]:
        """Whether to let go of this work: to stop, to give way, or because another replica ended meanwhile."""
        ours = {subject(node.action) for node in plan.nodes if isinstance(node.action, StopReplica | RemoveReplica)}
        other: list[Notice] = []

        def interrupted() -> bool:
            other.extend(one for one in self.inbox.take() if _is_news(one, ours))
            return bool(other) or self.stopped() or self.wanted()

        return interrupted


def _is_news(notice: Notice, ours: set[str]) -> bool:
    return isinstance(notice, ReplicaEvent) and notice.action in ENDS and notice.name not in ours


def _failure(one: ObjectResult) -> Failure:
    error = one.error
    useless = isinstance(error, Terminal) and error.code not in ENDED
    return Failure(one.ref, useless)


def wish(store: Store, set_name: str) -> tuple[Stack, frozenset[Ref]]:
    """What was applied last, as a Stack, and the objects whose removal was asked for and is not complete."""
    resources: dict[Ref, Resource[Any]] = {}
    going = set()
    for item in store.objects.all(set_name):
        if item.deletion_requested_at is not None:
            going.add(item.ref)
        else:
            spec = KINDS[item.ref.kind].spec.model_validate(dict(item.spec), by_alias=True, by_name=False)
            metadata = Metadata(item.ref.name, item.labels, item.annotations)
            resources[item.ref] = Resource(item.ref.kind, metadata, spec)
    settings = StackSpec.model_validate(store.wishes.settings(set_name) or {}, by_alias=True, by_name=False)
    return Stack(set_name, settings, resources), frozenset(going)

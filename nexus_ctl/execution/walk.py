"""The walk over a plan's graph: what may start, starts; what waits, holds no worker; what cannot be, is skipped (R13).

One loop in one thread decides; effects run on one pool per class, looks of waits on a pool of their own. Before an
effect is called the journal holds its beginning, afterwards its end, so that an interruption anywhere leaves either
nothing or a beginning to look into (R11).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Protocol

from nexus_ctl.errors import Bug, Interrupted, NexusError
from nexus_ctl.execution.perform import perform
from nexus_ctl.execution.report import Began, Fetching, Outcome, Report, Status
from nexus_ctl.execution.waits import Looks
from nexus_ctl.execution.waits import wait as looks_of
from nexus_ctl.execution.world import World
from nexus_ctl.planning.action import AwaitReady, Drain, Pool
from nexus_ctl.planning.plan import Node, Plan
from nexus_ctl.resources.artifact import Progress


class Journal(Protocol):
    """Where effects are written down before and after."""

    def begin(self, node: Node) -> None:
        """About to act. Durable when it returns."""
        ...

    def done(self, node: Node) -> None:
        """Acted."""
        ...

    def failed(self, node: Node, error: str) -> None:
        """Refused or failed."""
        ...


Workers = Mapping[Pool, Executor]


class Walk:
    """One walk. `run` is called once."""

    def __init__(
        self,
        plan: Plan,
        world: World,
        journal: Journal,
        workers: Workers,
        *,
        report: Report,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._nodes = plan.nodes
        self._world = world
        self._journal = journal
        self._workers = workers
        self._report = report
        self._cancelled = cancelled
        self._outcomes: dict[int, Outcome] = {}
        self._open = {node.id for node in plan.nodes}
        """Nodes that have not begun and are not ruled out."""
        self._dirty = [node.id for node in plan.nodes]
        """Heap of open nodes to look at again, because something they hang on has ended."""
        self._running: dict[Future[float | str | None], tuple[Node, Looks | None]] = {}
        """Effects, and looks of waits: these end with the seconds until the next, or with what the whole wait says."""
        self._naps: list[tuple[float, int, Looks]] = []
        """Heap of waits between two looks: when to look again (monotonic), node, looks."""
        self._followers: dict[int, list[int]] = {}
        self._unknown = [0] * len(plan.nodes)
        """Per node, how many of those that it hangs on have not ended."""
        for node in plan.nodes:
            for other in (*node.needs, *(() if node.rescues is None else (node.rescues,))):
                self._followers.setdefault(other, []).append(node.id)
                self._unknown[node.id] += 1

    def run(self) -> Mapping[int, Outcome]:
        """Carry the plan out; the outcome of every node."""
        while self._open or self._running or self._naps:
            self._start_what_may()
            self._look_where_due()
            if self._running:
                ended, _ = wait(self._running, timeout=self._until_next_look(), return_when=FIRST_COMPLETED)
                for future in sorted(ended, key=lambda f: self._running[f][0].id):
                    self._take_in(future)
            elif self._naps:
                self._world.clock.sleep(self._until_next_look() or 0.0)
        return self._outcomes

    def _start_what_may(self) -> None:
        """Begin or rule out every node whose fate is known."""
        while self._dirty:
            node = self._nodes[heapq.heappop(self._dirty)]
            verdict = self._verdict(node) if node.id in self._open else None
            if verdict is None:
                continue
            self._open.discard(node.id)
            if verdict is not Status.DONE:
                because = next((n for n in node.needs if self._missed(n)), None)
                self._end(Outcome(node, verdict, because=because))
            else:
                self._begin(node)

    def _verdict(self, node: Node) -> Status | None:
        """DONE: may start now. SKIPPED, NOT_NEEDED: never will. None: not known yet."""
        needs = [self._outcomes[need].status if need in self._outcomes else None for need in node.needs]
        if Status.NOT_NEEDED in needs:
            return Status.NOT_NEEDED
        failed = Status.FAILED in needs or Status.SKIPPED in needs
        if node.rescues is not None:
            rescued = self._outcomes.get(node.rescues)
            if rescued is None:
                return None
            if rescued.status is Status.DONE or failed:
                return Status.NOT_NEEDED
        elif failed:
            return Status.SKIPPED
        if None in needs:
            return None
        return Status.SKIPPED if self._cancelled() and node.rescues is None else Status.DONE

    def _missed(self, key: int) -> bool:
        return key in self._outcomes and self._outcomes[key].status is not Status.DONE

    def _begin(self, node: Node) -> None:
        self._report(Began(node))
        if isinstance(node.action, AwaitReady | Drain):
            looks = looks_of(node.action, node.ref, self._world)
            heapq.heappush(self._naps, (self._world.clock.monotonic(), node.id, looks))
        else:
            self._running[self._workers[node.action.pool].submit(self._effect, node)] = (node, None)

    def _effect(self, node: Node) -> None:
        """Runs on a worker: journal, act, journal."""
        self._journal.begin(node)
        try:
            perform(node.action, node.ref, self._world, lambda step: self._fetching(node, step))
        except Exception as error:
            self._journal.failed(node, self._world.redact(str(error)))
            raise
        self._journal.done(node)

    def _fetching(self, node: Node, step: Progress) -> None:
        if self._cancelled():
            raise Interrupted("what is downloaded already is kept")
        self._report(Fetching(node, step))

    def _look_where_due(self) -> None:
        now = self._world.clock.monotonic()
        while self._naps and self._naps[0][0] <= now:
            _, key, looks = heapq.heappop(self._naps)
            if self._cancelled():
                self._end(Outcome(self._nodes[key], Status.SKIPPED))
            else:
                self._running[self._workers[Pool.WAIT].submit(_look, looks)] = (self._nodes[key], looks)

    def _until_next_look(self) -> float | None:
        return max(self._naps[0][0] - self._world.clock.monotonic(), 0.0) if self._naps else None

    def _take_in(self, future: Future[float | str | None]) -> None:
        node, looks = self._running.pop(future)
        error = future.exception()
        if error is not None:
            self._end(Outcome(node, Status.FAILED, _known(error)))
            return
        found = future.result()
        if looks is None or found is None or isinstance(found, str):
            self._end(Outcome(node, Status.DONE, note=found if isinstance(found, str) else ""))
        else:
            heapq.heappush(self._naps, (self._world.clock.monotonic() + found, node.id, looks))

    def _end(self, outcome: Outcome) -> None:
        """Note it, and look again at those whose fate it may decide; looking at all would be cubic in a wide plan."""
        ended = outcome.node.id
        self._outcomes[ended] = outcome
        for follower in self._followers.get(ended, ()):
            self._unknown[follower] -= 1
            last = not self._unknown[follower]
            if last or outcome.status is not Status.DONE or self._nodes[follower].rescues == ended:
                heapq.heappush(self._dirty, follower)
        self._report(outcome)


def _look(looks: Looks) -> float | str:
    """One look: the seconds until the next, or what the wait says at its end."""
    try:
        return next(looks)
    except StopIteration as end:
        return str(end.value)


def _known(error: BaseException) -> NexusError:
    """The error as one of ours: anything else is a bug, and says so."""
    if isinstance(error, NexusError):
        return error
    bug = Bug(f"{type(error).__name__}: {error}")
    bug.__cause__ = error
    return bug

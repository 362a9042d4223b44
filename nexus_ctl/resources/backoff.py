"""A replica's ends in a row: how often, how, and when it may be started again (R21). Pure.

`controllers.reconciler.look` folds what it sees into what the store remembers, planning leaves a replica alone until
its time has come, the cycle writes the result down. The rule: an end is known by its run (runtime id and start), so
that looking twice counts once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.observed import ReplicaView
from nexus_ctl.resources.replica import Exit, Health, ObservedReplica, ReplicaState

FIRST_SECONDS = 2.0
FACTOR = 3.0
LONGEST_SECONDS = 300.0
"""The pause after the second end in a row, how it grows, and its cap; after the first end there is none."""
JITTER = 0.2
"""Share of a pause that is taken off by chance: replicas that died together should not all come back together."""
MIN_HEALTHY_SECONDS = 10.0
"""After having been ready for so long the count begins anew, where no Deployment says otherwise."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """What is remembered of one replica that ended. `run` is the run that ended last.

    `lines` are its last words, without secrets. `ready_run` and `ready_since` tell of the run after it: when a look
    first found it ready.
    """

    ref: Ref
    replica: str
    failures: int
    run: str
    exit: Exit
    failed_at: datetime
    next_at: datetime
    lines: tuple[str, ...] = ()
    ready_run: str = ""
    ready_since: datetime | None = None

    @property
    def restarts(self) -> int:
        """How often it was started again in this row of ends, the present wait not counted."""
        return self.failures - 1

    def seconds_left(self, now: datetime) -> float:
        """Until it may be started; 0 when it may."""
        return max(0.0, (self.next_at - now).total_seconds())

    def words(self, now: datetime) -> str:
        """`restarted 3 times, next try in 40 s, because out of memory: lower contextSize, …`."""
        left = self.seconds_left(now)
        times = {0: "ended", 1: "restarted once"}.get(self.restarts, f"restarted {self.restarts} times")
        when = f"next try in {max(1, round(left))} s" if left else "next try now"
        return f"{times}, {when}, because {cause(self.exit)}"


def run_of(replica: ObservedReplica) -> str:
    """What tells one run of a replica from another."""
    return f"{replica.runtime_id}@{replica.started_at.isoformat() if replica.started_at else ''}"


def pause_seconds(replica: str, failures: int) -> float:
    """The pause after so many ends in a row. Its jitter follows from name and count: equal input, equal plan."""
    if failures < 2:
        return 0.0
    full = min(FIRST_SECONDS * FACTOR ** min(failures - 2, 16), LONGEST_SECONDS)
    chance = int(hashlib.sha256(f"{replica}/{failures}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return full * (1 - JITTER * chance)


def cause(how: Exit) -> str:
    """Why it ended and what may help, in words."""
    if how.out_of_memory:
        return "it ran out of memory: lower contextSize or parallel slots, or raise spec.resources.memory"
    if how.error:
        return how.error
    if how.signal:
        return f"signal {how.signal} ended it"
    return f"it ended by itself with exit code {how.code}"


def fold(
    before: Backoff | None, ref: Ref, view: ReplicaView, *, now: datetime, min_healthy_seconds: float
) -> Backoff | None:
    """What is known of a replica after this look; None while it never ended."""
    replica, run = view.replica, run_of(view.replica)
    if replica.state is ReplicaState.RUNNING:
        if before is not None and view.health is Health.READY and before.ready_run != run:
            return replace(before, ready_run=run, ready_since=now)
        return before
    if replica.exit is None or (before is not None and before.run == run):
        return before
    ended = min(replica.ended_at or now, now)  # the runtime's clock may be another one
    failures = 1
    if before is not None:
        since = before.ready_since if before.ready_run == run else None
        steady = since is not None and ended - since >= timedelta(seconds=min_healthy_seconds)
        failures = 1 if steady else before.failures + 1
    pause = timedelta(seconds=pause_seconds(replica.name, failures))
    return Backoff(ref, replica.name, failures, run, replica.exit, ended, ended + pause)

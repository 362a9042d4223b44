"""Waiting as a generator of looks: each `next` is one look at the world, its value the seconds until the next.

The walk drives them, so a wait holds no worker (R13) and a test can stop or delay it at any look. A wait is over when
the generator returns, and has failed when it raises.
"""

from __future__ import annotations

from collections.abc import Iterator

from nexus_ctl.errors import ActionError, DeadlineExceeded, NotFound, Retryable, Terminal
from nexus_ctl.execution.world import World
from nexus_ctl.planning.action import AwaitReady, Drain
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.replica import Health, ObservedReplica, ReplicaState

LOG_LINES = 20
DRAIN_INTERVAL_SECONDS = 0.1
IDLE_LOOKS = 2
"""Looks in a row that must find nothing in flight: a request may stand between acceptance and counting."""


def wait(action: AwaitReady | Drain, ref: Ref, world: World) -> Iterator[float]:
    """The looks of one waiting action."""
    return _await_ready(action, ref, world) if isinstance(action, AwaitReady) else _drain(action, world)


def _await_ready(action: AwaitReady, ref: Ref, world: World) -> Iterator[float]:
    """Until READY. The progress deadline begins anew with each sign of progress (R15)."""
    runtime, probe, clock = world.runtime_of(ref), action.probe, world.clock
    began = moved = clock.monotonic()
    sign = ""
    while True:
        there = runtime.inspect(action.name)
        if there is None:
            raise NotFound(f"{action.name} vanished while it started")
        if there.state is not ReplicaState.RUNNING:
            raise _ended(action.name, there, ref, world)
        health = world.prober.look(there.address, probe)
        if health is Health.READY:
            return
        now = clock.monotonic()
        seen = f"{health}:{runtime.progress(action.name)}"
        if seen != sign:
            sign, moved = seen, now
        if now - moved >= probe.progress_deadline_seconds:
            raise _overdue(action.name, f"no progress for {probe.progress_deadline_seconds:.0f} s", ref, world)
        if now - began >= probe.healthy_deadline_seconds:
            raise _overdue(action.name, f"not ready after {probe.healthy_deadline_seconds:.0f} s", ref, world)
        yield probe.interval_seconds


def _ended(name: str, there: ObservedReplica, ref: Ref, world: World) -> ActionError:
    """An engine that ends by itself while starting would end again; one that was killed may fare better."""
    said = last_lines(name, ref, world)
    how = there.exit
    detail = f"{name} ended while starting: {how or there.state}{said}"
    if how is not None and how.out_of_memory:
        return Terminal(detail, code="out-of-memory", hint="give it more memory, or a smaller context or model")
    if how is not None and how.signal in (9, 15):
        return Retryable(detail)
    return Terminal(detail, code="engine-exited", hint=f"nexusctl logs {ref.kind.lower()}/{ref.name}")


def _overdue(name: str, why: str, ref: Ref, world: World) -> DeadlineExceeded:
    return DeadlineExceeded(f"{name}: {why}{last_lines(name, ref, world)}")


def last_lines(name: str, ref: Ref, world: World) -> str:
    """The last log lines of a replica, without secrets, as an indented block; "" when there are none (R25)."""
    try:
        lines = list(world.runtime_of(ref).logs(name, tail=LOG_LINES))
    except ActionError:
        return ""
    return "".join(f"\n    {world.redact(line)}" for line in lines)


def _drain(action: Drain, world: World) -> Iterator[float]:
    """Until the gateway has nothing open on the replica, or the deadline passes: then it is stopped all the same."""
    began, idle = world.clock.monotonic(), 0
    while world.clock.monotonic() - began < action.deadline_seconds:
        open_requests = world.routing.in_flight(action.name)
        if open_requests is None:
            return
        idle = idle + 1 if open_requests == 0 else 0
        if idle >= IDLE_LOOKS:
            return
        yield DRAIN_INTERVAL_SECONDS

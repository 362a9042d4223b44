"""Waiting as a generator of looks: each `next` is one look at the world, its value the seconds until the next.

The walk drives them, so a wait holds no worker (R13) and a test can stop or delay it at any look. A wait is over when
the generator returns, and has failed when it raises. What it returns is what is worth an event, mostly nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from nexus_ctl.errors import ActionError, DeadlineExceeded, NotFound, Retryable, Terminal
from nexus_ctl.execution.world import World
from nexus_ctl.planning.action import AwaitReady, Drain
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.quantity import format_duration
from nexus_ctl.resources.replica import Health, ObservedReplica, ReplicaState

LOG_LINES = 20
DRAIN_INTERVAL_SECONDS = 0.1
IDLE_LOOKS = 2
"""Looks in a row that must find nothing in flight: a request may stand between acceptance and counting."""
ASKING_SECONDS = 2.0
"""How long an engine may take to say what it works on; one that takes longer is busy."""

Looks = Generator[float, None, str]


def wait(action: AwaitReady | Drain, ref: Ref, world: World) -> Looks:
    """The looks of one waiting action."""
    return _await_ready(action, ref, world) if isinstance(action, AwaitReady) else _drain(action, ref, world)


def _await_ready(action: AwaitReady, ref: Ref, world: World) -> Looks:
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
        health = world.prober.look(there.address, probe, world.keys.of(action.name))
        if health is Health.READY:
            return ""
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


def _drain(action: Drain, ref: Ref, world: World) -> Looks:
    """Until nothing is open on the replica, or the deadline passes: then it is stopped all the same, and that is told.

    Idle is what both the gateway and the engine call so; where one of them does not tell, the other decides alone.
    """
    began, idle, open_by = world.clock.monotonic(), 0, ""
    working = _working(action, ref, world)
    while (left := action.deadline_seconds - (world.clock.monotonic() - began)) > 0:
        routed, worked_on = world.routing.in_flight(action.name), working(left)
        if routed is None and worked_on is None:
            return ""
        idle = idle + 1 if not routed and not worked_on else 0
        if idle >= IDLE_LOOKS:
            return ""
        open_by = f"the gateway has {_told(routed)} open, the engine works on {_told(worked_on)}"
        yield min(DRAIN_INTERVAL_SECONDS, left)
    return f"{action.name} is stopped after {format_duration(action.deadline_seconds)}: {open_by}" if open_by else ""


def _working(action: Drain, ref: Ref, world: World) -> Callable[[float], int | None]:
    """Asks the engine what it works on, for at most so many seconds; None where it does not tell."""
    signal, there = action.busy, world.runtime_of(ref).inspect(action.name) if action.busy is not None else None
    if signal is None or there is None:
        return lambda _seconds: None
    address, key = there.address, world.keys.of(action.name)
    return lambda seconds: world.prober.open_requests(address, signal, min(seconds, ASKING_SECONDS), key)


def _told(count: int | None) -> str:
    return "an unknown number" if count is None else str(count)

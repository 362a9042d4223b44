"""How replicas come, go and are exchanged, as steps (R14). Pure.

Everything that can fail without the device is done before the old replica stops. Start-first: the new one is ready and
published before the old one leaves the table, drains and stops. Stop-first: when the new one fails to become ready,
the old one is started again and published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nexus_ctl.planning.action import (
    AdoptReplica,
    AwaitReady,
    CreateReplica,
    Drain,
    Publish,
    RemoveReplica,
    StartReplica,
    StopReplica,
    Withdraw,
)
from nexus_ctl.planning.change import Step, chain
from nexus_ctl.resources.artifact import Request
from nexus_ctl.resources.busy import BusySignal
from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.replica import Replica


@dataclass(frozen=True, slots=True)
class Incoming:
    """A replica that shall be."""

    replica: Replica
    models: Mapping[str, Request]
    probe: ReadyProbe

    @property
    def name(self) -> str:
        return self.replica.name

    @property
    def start(self) -> StartReplica:
        """To start it, with its secrets."""
        return StartReplica(self.name, self.replica.launch.secret_env, self.replica.launch.key_env)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A replica that shall go. `routed_as` is the deployment it is published under; "" when it is not."""

    name: str
    running: bool
    routed_as: str
    drain_seconds: float
    grace_seconds: float
    start: StartReplica
    """To start it again, with the secrets it was made with."""
    probe: ReadyProbe
    busy: BusySignal | None = None


def bring_up(new: Incoming, deployment: str) -> tuple[Step, ...]:
    """Create, start, wait until ready, publish. An empty `deployment` publishes nothing."""
    made = (CreateReplica(new.replica, new.models), new.start)
    return chain(*made, AwaitReady(new.name, new.probe), *_publishing(new.name, deployment))


def take_over(adopt: AdoptReplica, probe: ReadyProbe, deployment: str) -> tuple[Step, ...]:
    """Make sure that it answers, own it, publish: what does not answer stays a stranger's."""
    return chain(AwaitReady(adopt.name, probe), adopt, *_publishing(adopt.name, deployment))


def finish_starting(name: str, probe: ReadyProbe, deployment: str) -> tuple[Step, ...]:
    """For a replica that runs already: wait until ready, publish."""
    return chain(AwaitReady(name, probe), *_publishing(name, deployment))


def take_down(old: Outgoing) -> tuple[Step, ...]:
    """Withdraw, drain, stop, remove; what is done already is left out."""
    return chain(*_leaving(old), RemoveReplica(old.name))


def start_first(old: Outgoing, new: Incoming, deployment: str) -> tuple[Step, ...]:
    """The new one serves before the old one goes. When the new one fails, it alone is taken away again."""
    way = then(bring_up(new, deployment), take_down(old))
    return (
        *way,
        Step(StopReplica(new.name, old.grace_seconds), (0,), rescues=2),
        Step(RemoveReplica(new.name), (len(way),)),
    )


def stop_first(old: Outgoing, new: Incoming, deployment: str) -> tuple[Step, ...]:
    """The old one ends before the new one starts; it comes back when the new one fails, stays when it cannot end."""
    leaving = _leaving(old)
    way = chain(
        CreateReplica(new.replica, new.models),
        *leaving,
        new.start,
        AwaitReady(new.name, new.probe),
        *_publishing(new.name, deployment),
        RemoveReplica(old.name),
    )
    stopped, awaited = len(leaving), len(leaving) + 2
    first = Step(StopReplica(new.name, old.grace_seconds), (stopped,), rescues=awaited)
    back = chain(
        RemoveReplica(new.name),
        old.start,
        AwaitReady(old.name, old.probe),
        *_publishing(old.name, deployment),
        after=(len(way),),
        offset=len(way) + 1,
    )
    kept = Step(Publish(old.routed_as, old.name), (0,), rescues=stopped) if old.routed_as else None
    return (*way, first, *back, *([kept] if kept is not None else []))


def finish_exchange(new: Incoming, old: Outgoing, deployment: str) -> tuple[Step, ...]:
    """For an exchange that was interrupted after the new one's start: the old one is let go only when the new one is
    ready; when that fails it stays, or comes back where it has been stopped already."""
    way = then(finish_starting(new.name, new.probe, deployment), take_down(old))
    first = Step(StopReplica(new.name, old.grace_seconds), rescues=0)
    started = () if old.running else (old.start, AwaitReady(old.name, old.probe))
    published = () if old.running else _publishing(old.name, deployment)
    return (*way, first, *chain(RemoveReplica(new.name), *started, *published, after=(len(way),), offset=len(way) + 1))


def _publishing(name: str, deployment: str) -> tuple[Publish, ...]:
    return (Publish(deployment, name),) if deployment else ()


def _leaving(old: Outgoing) -> tuple[Withdraw | Drain | StopReplica, ...]:
    routed = (Withdraw(old.routed_as, old.name),) if old.routed_as else ()
    drained = (Drain(old.name, old.drain_seconds, old.busy),) if old.running else ()
    stopped = (StopReplica(old.name, old.grace_seconds),) if old.running else ()
    return (*routed, *drained, *stopped)


def then(first: tuple[Step, ...], second: tuple[Step, ...]) -> tuple[Step, ...]:
    """`second` after `first`: its opening steps wait for the last step of `first` that is on the way."""
    return (*first, *shifted(second, len(first), (len(first) - 1,) if first else ()))


def beside(first: tuple[Step, ...], second: tuple[Step, ...]) -> tuple[Step, ...]:
    """Both, independent of each other."""
    return (*first, *shifted(second, len(first), ()))


def shifted(steps: tuple[Step, ...], offset: int, after: tuple[int, ...]) -> tuple[Step, ...]:
    """`steps` with their indices moved by `offset`; the opening ones need `after`."""
    return tuple(
        Step(
            step.action,
            tuple(need + offset for need in step.needs) or after,
            None if step.rescues is None else step.rescues + offset,
        )
        for step in steps
    )


def joined(parts: Sequence[tuple[Step, ...]]) -> tuple[Step, ...]:
    """All parts, independent of each other."""
    steps: tuple[Step, ...] = ()
    for part in parts:
        steps = beside(steps, part)
    return steps

"""From the replicas that should be and those that are, to steps: the one algorithm behind deployments and the gateway.

For every index: a replica that is current and runs is kept; one that is not current is exchanged, one index after the
other; one that ended is made anew; a missing one is brought up. What is beyond the wanted number is taken down,
highest first. What "current" means is the caller's: `Fleet.differences` gives the reasons why a replica is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nexus_ctl.planning import rollout
from nexus_ctl.planning.action import AdoptReplica, Publish, ResumeReplica, UpdateLimits, Withdraw
from nexus_ctl.planning.change import Change, Reason, Step, Verb, on_the_way
from nexus_ctl.planning.rollout import Incoming, Outgoing
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.launch import Limits
from nexus_ctl.resources.observed import ReplicaView
from nexus_ctl.resources.quantity import format_bytes_exact
from nexus_ctl.resources.replica import Health, ReplicaState

RANK = (
    Verb.REPLACE_STOP_FIRST,
    Verb.REPLACE_START_FIRST,
    Verb.RESTART,
    Verb.ADOPT,
    Verb.CREATE,
    Verb.UPDATE,
    Verb.BLOCKED,
)
"""Of several verbs in one change, the first of these names it."""


ADOPTED = (
    "{} is taken over as it runs, with its own restart policy, ports and volumes; it is made anew, under our rules, "
    "by the first change that needs a new replica"
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """One object's replicas as they should be, and how to judge those that are."""

    ref: Ref
    route: str
    """The deployment they are published under; "" for what no route leads to."""
    incoming: tuple[Incoming, ...]
    """One per index, in order."""
    limits: Limits
    exchange: Verb
    exchange_reason: Reason | None
    heal: bool
    differences: Callable[[ReplicaView, Incoming], tuple[Reason, ...]]
    """Why a replica is not what its index should be; empty = current."""
    outgoing: Callable[[ReplicaView, str], Outgoing]
    """A replica that leaves, given the name it is published under."""
    adopts: Mapping[int, AdoptReplica] = field(default_factory=dict)
    """Running things of somebody's that are taken over, by index, where no replica is."""
    evicted: Mapping[str, Reason] = field(default_factory=dict)
    """Replicas that go though they are current, and why."""
    limits_set: Callable[[ReplicaView], Collection[Limits]] | None = None
    """The limits that we gave a replica, when it was made and since; any other is somebody else's doing."""
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Replicas that ended too often to be started again now, by name, and what to say of each."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The replicas that are, and their rows of the routing table."""

    replicas: tuple[ReplicaView, ...]
    endpoints: Mapping[str, str] = field(default_factory=dict)
    routed_as: Mapping[str, str] = field(default_factory=dict)
    amiss: Mapping[str, str] = field(default_factory=dict)
    """Those whose rows would not be answered, by name, and why."""

    def route_of(self, view: ReplicaView) -> str:
        """The name a replica is published under; "" when it is not."""
        return self.routed_as.get(view.replica.name, "")


@dataclass(frozen=True, slots=True)
class Piece:
    """What one replica contributes to a change. `rolls` pieces run one after the other; `ends` is their last step."""

    steps: tuple[Step, ...] = ()
    reasons: tuple[Reason, ...] = ()
    verb: Verb | None = None
    drift: tuple[str, ...] = ()
    kept: str = ""
    rolls: bool = False
    ends: int = 0


def plan_replicas(fleet: Fleet, seen: Seen) -> Change:
    """The change that makes the fleet true."""
    pieces: list[Piece] = []
    for incoming in fleet.incoming:
        here = [view for view in seen.replicas if _index(view) == incoming.replica.owner.replica]
        pieces += _settle(fleet, seen, incoming, here)
    beyond = [view for view in seen.replicas if _index(view) >= len(fleet.incoming)]
    for view in sorted(beyond, key=_index, reverse=True):
        pieces.append(Piece(_leave(fleet, seen, view), (Reason("scale_down"),), Verb.UPDATE))
    pieces += _tidy(fleet, seen)
    return _change(fleet, seen, pieces)


def changing(
    incoming: Sequence[Incoming],
    replicas: Sequence[ReplicaView],
    differences: Callable[[ReplicaView, Incoming], tuple[Reason, ...]],
) -> tuple[Mapping[int, ReplicaView], tuple[int, ...]]:
    """Which indices will be exchanged, with the replica that gives way, and at which nothing runs."""
    exchanged: dict[int, ReplicaView] = {}
    fresh = []
    for new in incoming:
        index = new.replica.owner.replica
        running = [v for v in replicas if _index(v) == index and v.replica.state is ReplicaState.RUNNING]
        if not running:
            fresh.append(index)
        elif all(view.lost or differences(view, new) for view in running):
            exchanged[index] = running[0]
    return exchanged, tuple(fresh)


def _index(view: ReplicaView) -> int:
    return view.replica.owner.replica if view.replica.owner is not None else -1


def _leave(fleet: Fleet, seen: Seen, view: ReplicaView) -> tuple[Step, ...]:
    return rollout.take_down(fleet.outgoing(view, seen.route_of(view)))


def _settle(fleet: Fleet, seen: Seen, incoming: Incoming, here: Sequence[ReplicaView]) -> list[Piece]:
    differences = {view.replica.name: fleet.differences(view, incoming) for view in here}
    running = [view for view in here if view.runs]
    current = [view for view in running if not differences[view.replica.name]]
    if current and current[0].replica.name in fleet.evicted:
        why = fleet.evicted[current[0].replica.name]
        return [Piece(_leave(fleet, seen, view), (why,), Verb.UPDATE) for view in here]
    if current:
        spare = [view for view in here if view is not current[0]]
        renamed = incoming.name in seen.endpoints and all(view.replica.name != incoming.name for view in here)
        return [*_keep(fleet, seen, incoming, current[0], spare), *([_strike(seen, incoming.name)] if renamed else [])]
    if running:
        old = running[0]
        spare = [view for view in here if view is not old]
        return [_exchange(fleet, seen, incoming, [old, *spare], differences[old.replica.name])]
    if here:
        return [_renew(fleet, seen, incoming, here, differences)]
    if incoming.replica.owner.replica in fleet.adopts:
        takes = fleet.adopts[incoming.replica.owner.replica]
        why = Reason("adopt_requested", source="request", detail=ADOPTED.format(takes.name))
        return [Piece(rollout.take_over(takes, incoming.probe, fleet.route), (why,), Verb.ADOPT, kept=takes.name)]
    if incoming.name in seen.endpoints:
        return [_vanished(fleet, seen, incoming)]
    reason = Reason("scale_up") if seen.replicas else Reason("not_found")
    return [Piece(rollout.bring_up(incoming, fleet.route), (reason,), Verb.CREATE)]


def _keep(fleet: Fleet, seen: Seen, incoming: Incoming, view: ReplicaView, spare: Sequence[ReplicaView]) -> list[Piece]:
    """A current replica that runs. While it is not ready, one of the spare ones is what an interrupted exchange can go
    back to: it leaves only after."""
    replica = view.replica
    pieces = [Piece(kept=replica.name)]
    back = next(iter(_old_first(spare)), None) if view.health is not Health.READY else None
    pieces += _clear(fleet, seen, [one for one in spare if one is not back])
    if replica.limits != fleet.limits:
        by_others = fleet.limits_set and replica.limits not in fleet.limits_set(view)
        reasons = _limit_reasons(replica.limits, fleet.limits, "drift" if by_others else "config")
        lines = [
            f"{replica.name}: {one.path} {one.after or 'unset'} -> {one.before or 'unset'}"
            for one in reasons
            if by_others
        ]
        update = Step(UpdateLimits(replica.name, fleet.limits))
        pieces.append(Piece((update,), reasons, Verb.UPDATE, tuple(lines)))
    if view.health is not Health.READY:
        steps = rollout.finish_starting(replica.name, incoming.probe, fleet.route)
        if back is not None:
            steps = rollout.finish_exchange(incoming, fleet.outgoing(back, seen.route_of(back)), fleet.route)
        drift = f"{replica.name}: runs, its probe says {view.health}"
        reason = Reason("not_ready", source="drift", detail=_way_out(fleet, seen, view))
        if replica.paused:
            steps = rollout.then((Step(ResumeReplica(replica.name)),), steps)
            drift = f"{replica.name}: running -> paused"
            reason = Reason("drift_paused", before="running", after="paused", source="drift")
        healed = fleet.heal or not replica.paused
        pieces.append(Piece(steps, (reason,), Verb.UPDATE, (drift,)) if healed else Piece(drift=(drift,)))
    elif fleet.route and seen.route_of(view) != fleet.route:
        former = seen.route_of(view)
        reason = Reason("renamed", before=former, after=fleet.route) if former else Reason("not_routed", source="drift")
        pieces.append(Piece((Step(Publish(fleet.route, replica.name)),), (reason,), Verb.UPDATE))
    elif fleet.route and seen.endpoints.get(replica.name) != replica.address:
        reason = Reason("drift_field", "endpoint", seen.endpoints.get(replica.name), replica.address, source="drift")
        pieces.append(Piece((Step(Publish(fleet.route, replica.name)),), (reason,), Verb.UPDATE))
    elif fleet.route and replica.name in seen.amiss:
        reason = Reason("drift_field", "endpoint", source="drift", detail=seen.amiss[replica.name])
        pieces.append(Piece((Step(Publish(fleet.route, replica.name)),), (reason,), Verb.UPDATE))
    return pieces


def _way_out(fleet: Fleet, seen: Seen, view: ReplicaView) -> str:
    """What to do about one that served before and does not answer. A busy one will, so it is waited for."""
    if view.health is not Health.DOWN or view.replica.name not in seen.endpoints or not fleet.route:
        return ""
    return f"it is waited for; to make it anew: nexusctl reconcile {fleet.ref.kind.lower()}/{fleet.ref.name}"


def _limit_reasons(before: Limits, after: Limits, source: str) -> tuple[Reason, ...]:
    """The limits that differ, written as a manifest writes them."""
    code = "drift_field" if source == "drift" else "field_changed"
    pairs = (
        ("spec.resources.cpu", before.cpu_cores, after.cpu_cores),
        ("spec.resources.memory", _written(before.memory_bytes), _written(after.memory_bytes)),
    )
    return tuple(Reason(code, path, was, now, "live", source) for path, was, now in pairs if was != now)


def _written(count: int | None) -> str | None:
    return None if count is None else format_bytes_exact(count)


def _exchange(
    fleet: Fleet, seen: Seen, incoming: Incoming, here: Sequence[ReplicaView], why: tuple[Reason, ...]
) -> Piece:
    """The first of `here` serves until the new one does. The others are leftovers of an interrupted exchange; one of
    them may bear the new one's name, so they go first."""
    exchange = rollout.start_first if fleet.exchange is Verb.REPLACE_START_FIRST else rollout.stop_first
    old = fleet.outgoing(here[0], seen.route_of(here[0]))
    steps = rollout.then(_gone(fleet, seen, here[1:]), exchange(old, incoming, fleet.route))
    reasons = (*why, *([fleet.exchange_reason] if fleet.exchange_reason is not None else []))
    ends = max(on_the_way(steps))
    return Piece(steps, reasons, fleet.exchange, rolls=True, ends=ends)


def _old_first(views: Sequence[ReplicaView]) -> list[ReplicaView]:
    """Those that once ran, the running ones first."""
    ran = [view for view in views if view.replica.state in (ReplicaState.RUNNING, ReplicaState.EXITED)]
    return sorted(ran, key=lambda view: view.replica.state is not ReplicaState.RUNNING)


def _renew(
    fleet: Fleet,
    seen: Seen,
    incoming: Incoming,
    here: Sequence[ReplicaView],
    differences: Mapping[str, tuple[Reason, ...]],
) -> Piece:
    """Nothing of this index runs, or what runs is lost. What was made but never started usually cannot be started: it
    is made anew. One of another make, left by an interrupted exchange or ended before a change, stays until the new one
    is ready."""
    replica = here[0].replica
    was = here[0].lost or replica.condition
    drift = (f"{replica.name}: running -> {was}",)
    if not fleet.heal:
        return Piece(drift=drift)
    if incoming.name in fleet.waiting:
        wait = Reason("crash_loop", source="drift", detail=fleet.waiting[incoming.name])
        return Piece(reasons=(wait,), verb=Verb.BLOCKED, drift=drift)
    old = next((view for view in _old_first(here) if differences[view.replica.name]), None)
    coming = rollout.bring_up(incoming, fleet.route)
    if old is not None:
        coming = rollout.stop_first(fleet.outgoing(old, seen.route_of(old)), incoming, fleet.route)
    steps = rollout.then(_gone(fleet, seen, [view for view in here if view is not old]), coming)
    return Piece(steps, (Reason("drift_exited", before="running", after=was, source="drift"),), Verb.RESTART, drift)


def _vanished(fleet: Fleet, seen: Seen, incoming: Incoming) -> Piece:
    """The routing table names it, and nothing is there: somebody removed it. Its row goes first, so that no request is
    sent to its address meanwhile."""
    drift = (f"{incoming.name}: running -> vanished",)
    if not fleet.heal:
        return Piece(drift=drift)
    withdrawn = (Step(Withdraw(seen.routed_as[incoming.name], incoming.name)),)
    steps = rollout.then(withdrawn, rollout.bring_up(incoming, fleet.route))
    return Piece(steps, (Reason("drift_missing", source="drift"),), Verb.RESTART, drift)


def _gone(fleet: Fleet, seen: Seen, views: Sequence[ReplicaView]) -> tuple[Step, ...]:
    """Take them down, one after the other."""
    steps: tuple[Step, ...] = ()
    for view in views:
        steps = rollout.then(steps, _leave(fleet, seen, view))
    return steps


def _clear(fleet: Fleet, seen: Seen, spare: Sequence[ReplicaView]) -> list[Piece]:
    reason = (Reason("superseded", source="drift"),)
    return [Piece(_leave(fleet, seen, view), reason, Verb.UPDATE) for view in spare]


def _tidy(fleet: Fleet, seen: Seen) -> list[Piece]:
    """Rows of the routing table behind which no replica stands."""
    known = {view.replica.name for view in seen.replicas}
    coming = {incoming.name for incoming in fleet.incoming}
    return [_strike(seen, name) for name in sorted(seen.endpoints.keys() - known - coming)]


def _strike(seen: Seen, name: str) -> Piece:
    reason = (Reason("drift_missing", "endpoint", source="drift"),)
    return Piece((Step(Withdraw(seen.routed_as[name], name)),), reason, Verb.UPDATE, (f"{name}: vanished",))


def _change(fleet: Fleet, seen: Seen, pieces: Sequence[Piece]) -> Change:
    steps: tuple[Step, ...] = ()
    behind: tuple[int, ...] = ()
    for piece in pieces:
        offset = len(steps)
        steps = (*steps, *rollout.shifted(piece.steps, offset, behind if piece.rolls else ()))
        behind = (offset + piece.ends,) if piece.rolls else behind
    verbs = [piece.verb for piece in pieces if piece.verb is not None]
    verb = next((verb for verb in RANK if verb in verbs), Verb.NO_OP)
    if verb is Verb.CREATE and seen.replicas:
        verb = Verb.UPDATE
    reasons = [reason for piece in pieces for reason in piece.reasons]  # their values may be lists, which have no hash
    return Change(
        fleet.ref,
        verb,
        tuple(reason for at, reason in enumerate(reasons) if reason not in reasons[:at]),
        steps,
        drift=tuple(line for piece in pieces for line in piece.drift),
        restarts=sum(verb in RANK[:3] for verb in verbs),
        untouched=tuple(piece.kept for piece in pieces if piece.kept),
    )


def with_reasons(change: Change, reasons: Sequence[Reason]) -> Change:
    """`change` with further reasons; an idle one becomes an update."""
    fresh = tuple(reason for reason in reasons if reason not in change.reasons)
    if not fresh:
        return change
    verb = Verb.UPDATE if change.verb is Verb.NO_OP else change.verb
    return replace(change, verb=verb, reasons=(*change.reasons, *fresh))

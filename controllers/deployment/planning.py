"""What is to be done for one Deployment. Pure.

The rule kept here: only a replica that is not current is replaced, and only one that is gone is made anew
(`controllers/make.py` says what current means).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from controllers.base import Berth, Scene
from controllers.deployment import adopting
from controllers.deployment.files import doubts
from controllers.deployment.obstacles import no_place, obstacle
from controllers.make import differences, made_from, outgoing
from controllers.removal import removal
from nexus_ctl.engines import table as engines
from nexus_ctl.planning import rollout
from nexus_ctl.planning.action import CreateReplica, Sweep, UpdateLimits, Withdraw
from nexus_ctl.planning.change import Change, Reason, Step, Verb
from nexus_ctl.planning.diff import compare
from nexus_ctl.planning.gap import Gap, drain_lines, gap_of
from nexus_ctl.planning.memory import device_lines, memory_line, stop_first_reason, tight_limit
from nexus_ctl.planning.plan import blocked
from nexus_ctl.planning.replicas import Fleet, Seen, plan_replicas, with_reasons
from nexus_ctl.planning.seats import Seat
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.field import OnChange
from nexus_ctl.resources.launch import Limits
from nexus_ctl.resources.memory import HOST
from nexus_ctl.resources.normal import Normal
from nexus_ctl.resources.observed import ObservedDeployment, ReplicaView
from nexus_ctl.resources.placed import Placed
from nexus_ctl.resources.replica import ReplicaState

EXCHANGES = {
    Verb.REPLACE_START_FIRST: (
        "startFirst",
        "create new, start new, wait ready, route, drain old, stop old, remove old",
    ),
    Verb.REPLACE_STOP_FIRST: (
        "stopFirst",
        "create new, drain old, stop old, start new, wait ready, route, remove old",
    ),
}
"""The two ways of exchanging a replica: the strategy's name and its order, for people."""


def applied(observed: ObservedDeployment) -> Normal | None:
    """What the newest replica was made from."""
    owners = [view.replica.owner for view in observed.replicas if view.replica.owner is not None]
    return made_from(max(owners, key=lambda owner: owner.generation)) if owners else None


def plan(ref: Ref, desired: Resource[DeploymentSpec] | None, observed: ObservedDeployment, scene: Scene) -> Change:
    """Bring up what is missing, exchange what is not current, make anew what ended, take down what is too much."""
    seen = Seen(observed.replicas, observed.endpoints, observed.routed_as, _amiss(desired, observed))
    if desired is None:
        return _remove(ref, seen, scene)
    stop = obstacle(ref, desired, observed, scene)
    if stop is not None:
        return stop
    berth = scene.berths[ref]
    exchange, why = _exchange(desired, berth.seat, scene)
    fleet = Fleet(
        ref=ref,
        route=ref.name,
        incoming=berth.incoming,
        limits=scene.launches[ref].limits,
        exchange=exchange,
        exchange_reason=why,
        heal=desired.spec.drift == "heal",
        differences=lambda view, new: differences(desired, view, new),
        outgoing=outgoing,
        adopts=adopting.takes(desired, observed, scene),
        evicted={name: _eviction(favoured) for name, favoured in berth.evicted.items()},
        limits_set=lambda view: _limits_set(desired, view, scene),
        waiting=scene.waiting,
    )
    change = with_reasons(plan_replicas(fleet, seen), _recorded_reasons(desired, scene))
    if change.verb in EXCHANGES and "replace" in _protection(desired, scene):
        return blocked(ref, Reason("protected", source="request", detail="protected from replacement"), *change.reasons)
    if not scene.capabilities.live_limits and any(isinstance(step.action, UpdateLimits) for step in change.steps):
        detail = (
            f"{scene.capabilities.driver} cannot change the limits of a replica that runs: delete it, and apply again"
        )
        return blocked(ref, Reason("limit_not_supported", "spec.resources", detail=detail), *change.reasons)
    refused = no_place(desired, observed, berth.seat, scene) if _makes(change) else None
    if refused is not None:
        return replace(blocked(ref, refused), drift=change.drift)
    memory = next((one.run.estimate for _, one in sorted(berth.seat.seated.items())), None) if berth.seat else None
    notes = (*_notes(desired, observed, berth.seat, change, scene), *_tight(desired, observed, berth.seat, change))
    notes += doubts(desired.spec, observed)
    if change.verb in (Verb.ADOPT, Verb.CREATE):
        notes += adopting.notes(desired, observed, scene)
    return replace(change, notes=notes, gap=_gap(desired, berth, change, scene), memory=memory)


def forget(ref: Ref, observed: ObservedDeployment) -> tuple[Step, ...]:
    """The rows under the former name; the replicas live on under the new one."""
    return tuple(Step(Withdraw(ref.name, name)) for name in sorted(observed.endpoints))


def _amiss(desired: Resource[DeploymentSpec] | None, observed: ObservedDeployment) -> Mapping[str, str]:
    """Replicas of which the gateway has other model names than their engines take, or not the key that they ask for."""
    keyed = desired is not None and engines.key(desired.spec) is not None
    found = {}
    for view in observed.replicas:
        name, owner = view.replica.name, view.replica.owner
        if owner is not None and engines.answers_to(owner) != observed.served.get(name, ()):
            found[name] = "other model names than its engine takes"
        elif keyed and not view.keyed:
            found[name] = "without the key that its engine asks for"
    return found


def _limits_set(desired: Resource[DeploymentSpec], view: ReplicaView, scene: Scene) -> list[Limits]:
    """The limits that nexusctl gave a replica: when it was made, by the last wish, by this one. The last wish is known
    from the store alone; without it nobody can say who changed them, and any limits may be ours."""
    recorded, owner = scene.recorded.get(desired.ref), view.replica.owner
    if recorded is None or owner is None:
        return [view.replica.limits]
    wishes = [made_from(owner), recorded.spec, desired.normalised]
    specs = [DeploymentSpec.model_validate(dict(one), by_alias=True, by_name=False) for one in wishes if one]
    return [engines.launch(spec).limits for spec in specs]


def _makes(change: Change) -> bool:
    return any(isinstance(step.action, CreateReplica) for step in change.steps)


def _eviction(favoured: Ref) -> Reason:
    return Reason("evicted", source="dependency", detail=f"gives its place to {favoured}, whose priority is higher")


def _exchange(desired: Resource[DeploymentSpec], seat: Seat | None, scene: Scene) -> tuple[Verb, Reason | None]:
    """Start-first only when both are known to fit (R14), or when somebody said so."""
    if seat is not None:
        why = seat.why_stop_first
        return seat.exchange, None if why is None else stop_first_reason(why, scene.machine)
    if desired.spec.rollout.strategy == "startFirst":
        return Verb.REPLACE_START_FIRST, None
    unknown = Reason("memory_unknown", detail="it is unknown whether both fit")
    return Verb.REPLACE_STOP_FIRST, unknown if desired.spec.rollout.strategy == "auto" else None


def _recorded_reasons(desired: Resource[DeploymentSpec], scene: Scene) -> list[Reason]:
    """Changed fields that no replica shows: those nexusctl itself uses, and the number of replicas."""
    recorded = scene.recorded.get(desired.ref)
    if recorded is None:
        return []
    fields = compare(DeploymentSpec, recorded.spec, desired.normalised)
    return [Reason.of(change) for change in fields if change.on_change is not OnChange.REPLACE]


def _protection(desired: Resource[DeploymentSpec], scene: Scene) -> frozenset[str]:
    recorded = scene.recorded.get(desired.ref)
    return frozenset(recorded.protect.split(",")) if recorded is not None else desired.metadata.protect


def _notes(
    desired: Resource[DeploymentSpec], observed: ObservedDeployment, seat: Seat | None, change: Change, scene: Scene
) -> tuple[str, ...]:
    takes: list[str] = []
    if seat is not None and seat.seated and change.steps:
        before = {
            view.replica.owner.replica: view.replica.name
            for view in observed.replicas
            if view.replica.owner is not None and view.replica.state is ReplicaState.RUNNING
        }
        takes = list(device_lines(seat, scene.machine, before))
        first = min(seat.seated.items())[1]
        takes = takes or [line for line in [memory_line(first.run.estimate, desired.spec.replicas)] if line]
        takes += [f"evicts {name}" for name in seat.evicts]
    elif _makes(change) and desired.spec.resources.gpus is not None:
        why = scene.machine.gpus.devices.reason or "nothing is known of its memory"
        takes = [f"memory: unknown on the GPUs ({why}); the engine picks them"]
    order = EXCHANGES.get(change.verb)
    if order is None:
        return (*takes, *drain_lines(change.steps))
    name, steps = order
    strategy = f"strategy {desired.spec.rollout.strategy} -> {name}"
    return (*takes, strategy, f"order: {steps}", *drain_lines(change.steps))


def _tight(
    desired: Resource[DeploymentSpec], observed: ObservedDeployment, seat: Seat | None, change: Change
) -> tuple[str, ...]:
    """Whether what is counted on for a replica, to be made or running, exceeds the limit that it is to have."""
    if not change.steps:
        return ()
    made = [one.placed for one in seat.seated.values()] if seat is not None else []
    run = [Placed.from_label(view.replica.owner.placement) for view in observed.replicas if view.replica.owner]
    claims = [placed.claims.get(HOST, 0) for placed in made or run if placed is not None]
    return tight_limit(desired.spec.resources.memory, max(claims, default=0))


def _gap(desired: Resource[DeploymentSpec], berth: Berth, change: Change, scene: Scene) -> Gap | None:
    if berth.evicted and len(berth.evicted) >= desired.spec.replicas:
        return Gap(None)
    alone = desired.spec.replicas == 1 or (change.verb is Verb.RESTART and not change.untouched)
    if not alone or change.verb not in (Verb.REPLACE_STOP_FIRST, Verb.RESTART):
        return None
    return gap_of(change.steps, scene.timings.get(desired.ref))


def _remove(ref: Ref, seen: Seen, scene: Scene) -> Change:
    owners = [view.replica.owner for view in seen.replicas if view.replica.owner is not None]
    leave = [rollout.take_down(outgoing(view, seen.routed_as.get(view.replica.name, ""))) for view in seen.replicas]
    known = {view.replica.name for view in seen.replicas}
    stale: list[tuple[Step, ...]] = [
        (Step(Withdraw(ref.name, name)),) for name in sorted(seen.endpoints.keys() - known)
    ]
    if not seen.replicas and scene.capabilities.images:  # who ended them left the network
        leave.append((Step(Sweep(scene.set)),))
    running = sum(view.replica.state is ReplicaState.RUNNING for view in seen.replicas)
    steps = rollout.joined([*leave, *stale])
    notes = (f"{running} replica(s) drained and stopped", *drain_lines(steps)) if running else ()
    protected = next((owner.protected for owner in owners), "")
    return removal(ref, scene, protected, steps, notes=notes)

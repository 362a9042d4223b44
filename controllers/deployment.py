"""Deployments: healthy replicas on a runtime.

The rule kept here: only a replica that is not current is replaced, and only one that is gone is made anew
(`controllers/make.py` says what current means).
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from controllers import adopting
from controllers.base import Assessment, Berth, Controller, Scene, Sighting
from controllers.files import doubts, headers, wrong_files
from controllers.make import KIND, differences, incoming, made_from, outgoing, probe_of
from controllers.removal import removal
from controllers.renaming import former_names
from controllers.reverting import went_back
from nexus_ctl.engines import table as engines
from nexus_ctl.engines.llama_cpp_headers import SERVED
from nexus_ctl.errors import ActionError
from nexus_ctl.execution.world import World
from nexus_ctl.planning import rollout
from nexus_ctl.planning.action import CreateReplica, UpdateLimits, Withdraw
from nexus_ctl.planning.change import Change, Reason, Step, Verb
from nexus_ctl.planning.diff import compare
from nexus_ctl.planning.gap import Gap, gap_of
from nexus_ctl.planning.memory import device_lines, memory_line, refusal, stop_first_reason
from nexus_ctl.planning.plan import blocked
from nexus_ctl.planning.replicas import Fleet, Seen, plan_replicas, with_reasons
from nexus_ctl.planning.running import candidates, counts_of
from nexus_ctl.planning.seats import Seat
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.conditions import EFFECTIVE, PLACED, STALLED, Condition
from nexus_ctl.resources.container import Container
from nexus_ctl.resources.declared import models_of
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import ADOPT, Ref, Resource
from nexus_ctl.resources.field import OnChange
from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.normal import Normal
from nexus_ctl.resources.observed import ObservedDeployment, ObservedModel, ReplicaView
from nexus_ctl.resources.replica import Health, ReplicaState

PROBES_AT_ONCE = 16
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


# ── observe ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def present(sighting: Sighting, set_name: str) -> frozenset[Ref]:
    """Deployments that have replicas, or rows in the routing table."""
    owned = {
        replica.owner.name
        for replica in sighting.replicas
        if replica.owner is not None and (replica.owner.set, replica.owner.kind) == (set_name, KIND)
    }
    return frozenset(Ref(KIND, name) for name in owned | sighting.table.endpoints.keys())


def observe(
    world: World, sighting: Sighting, scene: Scene, desired: Mapping[Ref, Resource[Any]], refs: frozenset[Ref]
) -> Mapping[Ref, ObservedDeployment]:
    """Replicas by owner, each running one probed and, when ready, asked what it loaded; names we would take are looked
    up only where a replica is missing."""
    by_owner: dict[str, list[ReplicaView]] = {}
    specs = {ref.name: resource.spec for ref, resource in desired.items()}

    def view(replica: Any) -> ReplicaView:
        if replica.state is not ReplicaState.RUNNING or not replica.address:
            return ReplicaView(replica)
        spec = specs.get(replica.owner.name)
        probe = probe_of(spec) if spec is not None else ReadyProbe()
        health = world.prober.look(replica.address, probe)
        reads = engines.reads(spec) if spec is not None and health is Health.READY else ()
        return ReplicaView(replica, health, world.prober.ask(replica.address, reads, probe.timeout_seconds))

    ours = [
        replica
        for replica in sighting.replicas
        if replica.owner is not None and (replica.owner.set, replica.owner.kind) == (scene.set, KIND)
    ]
    with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        for found in pool.map(view, ours):
            assert found.replica.owner is not None
            by_owner.setdefault(found.replica.owner.name, []).append(found)
    result = {}
    for ref in refs:
        resource = desired.get(ref)
        names = {ref.name, *(former_names(resource, scene.recorded) if resource is not None else ())}
        views = tuple(view for name in sorted(names) for view in by_owner.get(name, ()))
        own_last = [*sorted(names - {ref.name}), ref.name]  # during a rename both names have rows; its own counts
        rows = [(name, *row) for name in own_last for row in sighting.table.endpoints.get(name, {}).items()]
        endpoints = {replica: address for _, replica, address in rows}
        routed_as = {replica: name for name, replica, _ in rows}
        served = {replica: tuple(sighting.table.served.get(name, {}).get(replica, ())) for name, replica, _ in rows}
        observed = ObservedDeployment(views, endpoints, routed_as, served)
        result[ref] = observed if resource is None else _with_secrets(world, scene, resource, observed)
    return result


def _with_secrets(
    world: World, scene: Scene, resource: Resource[DeploymentSpec], seen: ObservedDeployment
) -> ObservedDeployment:
    sources = {name: value.value_from for name, value in resource.spec.env.items() if value.value_from is not None}
    try:
        secrets_digest = world.fingerprint({name: world.secret(source) for name, source in sorted(sources.items())})
    except ActionError as error:
        return replace(seen, error=f"{error.summary}: {error.detail}")
    observed = replace(seen, secrets_digest=secrets_digest)
    ours = {view.replica.name for view in seen.replicas}
    running = {view.replica.name for view in seen.replicas if view.replica.state is ReplicaState.RUNNING}
    wanted = {new.name for new in incoming(resource, observed, scene)}
    taken = frozenset(name for name in wanted - ours if world.runtime.inspect(name) is not None)
    found = dict(headers(world, scene, resource.spec)) if wanted - running else {}
    name = resource.metadata.annotations.get(ADOPT)
    adoptable = world.runtime.candidate(name) if name and not ours else None
    return replace(observed, adoptable=adoptable, in_the_way=taken, header=found.pop(SERVED, None), beside=found)


# ── plan ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def applied(observed: ObservedDeployment) -> Normal | None:
    """What the newest replica was made from."""
    owners = [view.replica.owner for view in observed.replicas if view.replica.owner is not None]
    return made_from(max(owners, key=lambda owner: owner.generation)) if owners else None


def plan(ref: Ref, desired: Resource[DeploymentSpec] | None, observed: ObservedDeployment, scene: Scene) -> Change:
    """Bring up what is missing, exchange what is not current, make anew what ended, take down what is too much."""
    seen = Seen(observed.replicas, observed.endpoints, observed.routed_as, _misnamed(observed))
    if desired is None:
        return _remove(ref, seen, scene)
    stop = _obstacle(ref, desired, observed, scene)
    if stop is not None:
        return stop
    berth = scene.berths[ref]
    exchange, why = _exchange(desired, berth.seat, scene)
    fleet = Fleet(
        ref=ref,
        route=ref.name,
        incoming=berth.incoming,
        limits=engines.launch(desired.spec).limits,
        exchange=exchange,
        exchange_reason=why,
        heal=desired.spec.drift == "heal",
        differences=lambda view, new: differences(desired, view, new),
        outgoing=outgoing,
        adopts=adopting.takes(desired, observed, scene),
        evicted={name: _eviction(favoured) for name, favoured in berth.evicted.items()},
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
    refused = _refusal(desired, observed, berth.seat, scene) if _makes(change) else None
    if refused is not None:
        return replace(blocked(ref, refused), drift=change.drift)
    memory = next((one.run.estimate for _, one in sorted(berth.seat.seated.items())), None) if berth.seat else None
    notes = (*_notes(desired, observed, berth.seat, change, scene), *doubts(desired.spec, observed))
    if change.verb in (Verb.ADOPT, Verb.CREATE):
        notes += adopting.notes(desired, observed, scene)
    return replace(change, notes=notes, gap=_gap(desired, berth, change, scene), memory=memory)


def _misnamed(observed: ObservedDeployment) -> frozenset[str]:
    """Replicas of which the routing table has other model names than their engines take."""
    owned = [(view.replica.name, view.replica.owner) for view in observed.replicas if view.replica.owner is not None]
    return frozenset(name for name, owner in owned if engines.answers_to(owner) != observed.served.get(name, ()))


def _makes(change: Change) -> bool:
    return any(isinstance(step.action, CreateReplica) for step in change.steps)


def _eviction(favoured: Ref) -> Reason:
    return Reason("evicted", source="dependency", detail=f"gives its place to {favoured}, whose priority is higher")


def _refusal(
    desired: Resource[DeploymentSpec], observed: ObservedDeployment, seat: Seat | None, scene: Scene
) -> Reason | None:
    """Why a replica that is to be made finds no place; None when it does, or when nothing is known."""
    gpus, machine = desired.spec.resources.gpus, scene.machine
    if gpus is not None and machine.gpus.devices.devices:
        here = candidates(gpus, machine.gpus.devices.devices)
        needed = max(counts_of(gpus, len(here)), default=1)
        if len(here) < needed:
            names = ", ".join(device.short_name for device in machine.gpus.devices.devices if not device.lost)
            detail = f"{needed} asked for, {len(here)} of them here; there are: {names or 'none that answers'}"
            return Reason("insufficient_gpu", "spec.resources.gpus", detail=detail)
    elif gpus is not None and gpus.count == "auto":
        why = machine.gpus.devices.reason or "none is seen"
        detail = f"count: auto needs GPUs that nexusctl sees; {why}; give a number"
        return Reason("insufficient_gpu", "spec.resources.gpus.count", detail=detail)
    if seat is None or seat.refused is None:
        return None
    return refusal(desired.spec, observed.header, seat.refused, machine)


def _obstacle(ref: Ref, desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> Change | None:
    """Why nothing may be done, before anything is stopped."""
    recorded = scene.recorded.get(ref)
    if desired.spec.suspend or (recorded is not None and recorded.suspended):
        return Change(ref, Verb.NO_OP, notes=("suspended: left as it is",))
    if observed.error:
        return blocked(ref, Reason("secret_unavailable", "spec.env", detail=observed.error))
    for path, name in models_of(desired.spec).items():
        if not scene.models.get(name, ObservedModel()).identity:
            detail = f"the bytes of Model/{name} are neither here nor to be had"
            return blocked(ref, Reason("dependency_blocked", path, source="dependency", detail=detail))
    if wrong := wrong_files(desired.spec, observed, scene):
        return blocked(ref, *wrong)
    here = scene.capabilities
    refused = sorted(word for word in engines.launch(desired.spec).argv if word in here.refused_flags)
    if refused:
        detail = f"the engine of the {here.driver} runtime cannot honour {', '.join(refused)}"
        return blocked(ref, Reason("flag_not_supported", "spec.engine", detail=detail))
    cpu = desired.spec.resources.cpu
    if cpu is not None and cpu != int(cpu) and not here.fractional_cpu:
        detail = f"the {here.driver} runtime pins whole cores; write a whole number"
        return blocked(ref, Reason("limit_not_supported", "spec.resources.cpu", after=cpu, detail=detail))
    if desired.spec.resources.gpus is not None and not here.gpus:
        detail = f"the {here.driver} runtime hands out no GPUs; leave spec.resources.gpus out, or use a Docker engine"
        return blocked(ref, Reason("gpus_not_supported", "spec.resources.gpus", detail=detail))
    if desired.spec.container != Container() and not here.images:
        detail = f"the {here.driver} runtime has no containers; leave spec.container out, or declare driver: docker"
        return blocked(ref, Reason("container_not_supported", "spec.container", detail=detail))
    if why := adopting.why_not(desired, observed, scene):
        return blocked(ref, Reason("not_adoptable", f"metadata.annotations.{ADOPT}", source="request", detail=why))
    if observed.in_the_way:
        there = ", ".join(sorted(observed.in_the_way))
        way_out = f"rename or remove it, or take it over: annotate {ADOPT}, and apply --adopt=if-unowned"
        detail = f"{there} exists and is not nexusctl's; {way_out}"
        return blocked(ref, Reason("unowned_exists", source="drift", detail=detail))
    return None


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
        takes = takes or [line for line in [memory_line(min(seat.seated.items())[1].run.estimate)] if line]
        takes += [f"evicts {name}" for name in seat.evicts]
    elif _makes(change) and desired.spec.resources.gpus is not None:
        why = scene.machine.gpus.devices.reason or "nothing is known of its memory"
        takes = [f"memory: unknown on the GPUs ({why}); the engine picks them"]
    order = EXCHANGES.get(change.verb)
    if order is None:
        return tuple(takes)
    name, steps = order
    return (*takes, f"strategy {desired.spec.rollout.strategy} -> {name}", f"order: {steps}")


def _gap(desired: Resource[DeploymentSpec], berth: Berth, change: Change, scene: Scene) -> Gap | None:
    if berth.evicted and len(berth.evicted) >= desired.spec.replicas:
        return Gap(None)
    alone = desired.spec.replicas == 1
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
    running = sum(view.replica.state is ReplicaState.RUNNING for view in seen.replicas)
    notes = (f"{running} replica(s) drained and stopped",) if running else ()
    protected = next((owner.protected for owner in owners), "")
    return removal(ref, scene, protected, rollout.joined([*leave, *stale]), notes=notes)


# ── assess ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def forget(ref: Ref, observed: ObservedDeployment) -> tuple[Step, ...]:
    """The rows under the former name; the replicas live on under the new one."""
    return tuple(Step(Withdraw(ref.name, name)) for name in sorted(observed.endpoints))


def assess(
    ref: Ref, desired: Resource[DeploymentSpec] | None, observed: ObservedDeployment, scene: Scene
) -> Assessment:
    """Started, Healthy, Routed and Ready, counted over current replicas; Effective by what their engines say."""
    wanted = desired.spec.replicas if desired is not None else 0
    current = _current(desired, observed, scene) if desired is not None else list(observed.replicas)
    started = [view for view in current if view.replica.state is ReplicaState.RUNNING]
    healthy = [view for view in started if view.health is Health.READY]
    routed = [view for view in healthy if view.replica.name in observed.endpoints]
    looping = [scene.waiting[view.replica.name] for view in current if view.replica.name in scene.waiting]
    conditions = [
        _counted("Started", len(started), wanted, "NotRunning", observed),
        _counted("Healthy", len(healthy), wanted, "NotReady", observed),
        _counted("Routed", len(routed), wanted, "NotInTable", observed),
        _counted("Ready", len(routed), wanted, "CrashLoop" if looping else "ReplicasMissing", observed, *looping),
    ]
    if ref in scene.held:
        conditions.append(Condition(STALLED, "True", "RolledBack", went_back(ref, scene)))
    if desired is not None and desired.spec.suspend:
        conditions.append(Condition("Suspended", "True", "Declared", "spec.suspend is true"))
    if desired is not None:
        conditions += _effective(desired.spec, healthy)
        conditions += _placed(desired, observed, scene)
    ended = any(view.replica.exit is not None for view in current)
    columns = {"REPLICAS": f"{len(routed)}/{wanted}", "MODEL": desired.spec.model if desired is not None else "-"}
    columns["GPU"] = ",".join(dict.fromkeys(_devices_of(started, scene))) or "-"
    return Assessment(
        tuple(conditions),
        _lifecycle(wanted, len(started), len(routed), ended),
        columns,
    )


def _devices_of(views: list[ReplicaView], scene: Scene) -> list[str]:
    """Names of the devices that running replicas lie on."""
    placed = [scene.machine.placed.get(view.replica.name) for view in views]
    return [scene.machine.name_of(device) for one in placed if one is not None for device in one.devices]


def _placed(desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> list[Condition]:
    """Where the replicas lie and what is counted on for them, or why one has no place; nothing where unknown."""
    seat = scene.berths[desired.ref].seat
    if seat is not None and seat.refused is not None:
        why = refusal(desired.spec, observed.header, seat.refused, scene.machine)
        return [Condition(PLACED, "False", "DoesNotFit", why.detail)]
    lines = []
    for view in observed.replicas:
        claims = scene.machine.held_by(view.replica.name)
        where = (f"{scene.machine.name_of(place)} {human_bytes(size)}" for place, size in claims.items())
        lines += [f"{view.replica.name}: {', '.join(where)}"] if claims else []
    return [Condition(PLACED, "True", "CountedOn", "; ".join(lines))] if lines else []


def _effective(spec: DeploymentSpec, ready: list[ReplicaView]) -> list[Condition]:
    """Whether the engines loaded what is declared, by their own word; nothing where none of them says."""
    told = [view for view in ready if view.answers]
    unlike = dict.fromkeys(str(one) for view in told for one in engines.unlike(spec, view.answers))
    if unlike:
        return [Condition(EFFECTIVE, "False", "LoadedOtherwise", "; ".join(unlike))]
    return [Condition(EFFECTIVE, "True", "LoadedAsDeclared", f"{len(told)} asked")] if told else []


def _current(desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> list[ReplicaView]:
    """The replicas that are what is declared."""
    by_index = dict(enumerate(scene.berths[desired.ref].incoming))
    owned = [(view, view.replica.owner.replica) for view in observed.replicas if view.replica.owner is not None]
    return [view for view, i in owned if i in by_index and not differences(desired, view, by_index[i])]


def _lifecycle(wanted: int, started: int, routed: int, ended: bool) -> str:
    if wanted and routed >= wanted:
        return "READY"
    return "LOADING" if started else "FAILED:LOADING" if ended else "STOPPED"


def _counted(type_: str, have: int, wanted: int, reason: str, observed: ObservedDeployment, *more: str) -> Condition:
    if have >= wanted:
        return Condition(type_, "True", "AllReplicas", f"{have} of {wanted}")
    exits = [(view.replica.name, view.replica.exit) for view in observed.replicas if view.replica.exit is not None]
    ended = [f"{name} {how}" + (f": {how.error}" if how.error else "") for name, how in exits]
    return Condition(type_, "False", reason, "; ".join([f"{have} of {wanted}", *ended, *more]))


CONTROLLER = Controller(KIND, present, observe, applied, plan, forget, assess)

"""Deployments: healthy replicas on a runtime.

The rule kept here: only a replica that is not current is replaced, and only one that is gone is made anew
(`controllers/make.py` says what current means).
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from controllers.base import Assessment, Controller, Scene, Sighting
from controllers.make import KIND, differences, incoming, made_from, outgoing, probe_of
from controllers.removal import removal
from controllers.renaming import former_names
from nexus_ctl.engines import table as engines
from nexus_ctl.errors import ActionError
from nexus_ctl.execution.world import World
from nexus_ctl.planning import rollout
from nexus_ctl.planning.action import Withdraw
from nexus_ctl.planning.change import Change, Reason, Step, Verb
from nexus_ctl.planning.diff import compare
from nexus_ctl.planning.gap import Gap, gap_of
from nexus_ctl.planning.memory import memory_line, refusal, replica_memory
from nexus_ctl.planning.plan import blocked
from nexus_ctl.planning.replicas import Fleet, Seen, plan_replicas, with_reasons
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.artifact import Request
from nexus_ctl.resources.conditions import EFFECTIVE, Condition
from nexus_ctl.resources.container import Container
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.field import OnChange
from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.memory import Estimate
from nexus_ctl.resources.normal import Normal
from nexus_ctl.resources.observed import ObservedDeployment, ObservedModel, ReplicaView
from nexus_ctl.resources.replica import Health, ReplicaState
from nexus_ctl.resources.weights import GgufHeader

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
        observed = ObservedDeployment(views, endpoints, {replica: name for name, replica, _ in rows})
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
    wanted = {new.name for new in incoming(resource, observed, scene)} - ours
    taken = frozenset(name for name in wanted if world.runtime.inspect(name) is not None)
    request = scene.models.get(resource.spec.model, ObservedModel()).request
    header = _header(world, request) if wanted and request is not None else None
    return replace(observed, in_the_way=taken, header=header)


def _header(world: World, request: Request) -> GgufHeader | None:
    token = request.source.token
    try:
        return world.artifacts.header(request, world.secret(token.value_from) if token is not None else None)
    except ActionError:
        return None  # the model's own plan says what is wrong with its token


# ── plan ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def applied(observed: ObservedDeployment) -> Normal | None:
    """What the newest replica was made from."""
    owners = [view.replica.owner for view in observed.replicas if view.replica.owner is not None]
    return made_from(max(owners, key=lambda owner: owner.generation)) if owners else None


def plan(ref: Ref, desired: Resource[DeploymentSpec] | None, observed: ObservedDeployment, scene: Scene) -> Change:
    """Bring up what is missing, exchange what is not current, make anew what ended, take down what is too much."""
    seen = Seen(observed.replicas, observed.endpoints, observed.routed_as)
    if desired is None:
        return _remove(ref, seen, scene)
    stop = _obstacle(ref, desired, observed, scene)
    if stop is not None:
        return stop
    memory = replica_memory(desired.spec, observed.header)
    exchange, why = _strategy(desired, memory, scene)
    fleet = Fleet(
        ref=ref,
        route=ref.name,
        incoming=incoming(desired, observed, scene),
        limits=engines.launch(desired.spec).limits,
        exchange=exchange,
        exchange_reason=why,
        heal=desired.spec.drift == "heal",
        differences=lambda view, new: differences(desired, view, new),
        outgoing=outgoing,
    )
    change = with_reasons(plan_replicas(fleet, seen), _recorded_reasons(desired, scene))
    if change.verb in EXCHANGES and "replace" in _protection(desired, scene):
        return blocked(ref, Reason("protected", source="request", detail="protected from replacement"), *change.reasons)
    if change.verb is Verb.CREATE and memory is not None and observed.header is not None:
        refused = refusal(desired.spec, observed.header, memory, scene.free_memory_bytes)
        if refused is not None:
            return blocked(ref, refused)
    return replace(change, notes=_notes(desired, memory, change), gap=_gap(desired, change, scene), memory=memory)


def _obstacle(ref: Ref, desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> Change | None:
    """Why nothing may be done, before anything is stopped."""
    recorded = scene.recorded.get(ref)
    if desired.spec.suspend or (recorded is not None and recorded.suspended):
        return Change(ref, Verb.NO_OP, notes=("suspended: left as it is",))
    if observed.error:
        return blocked(ref, Reason("secret_unavailable", "spec.env", detail=observed.error))
    if not scene.models.get(desired.spec.model, ObservedModel()).identity:
        detail = f"the bytes of Model/{desired.spec.model} are neither here nor to be had"
        return blocked(ref, Reason("dependency_blocked", "spec.model", source="dependency", detail=detail))
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
        detail = (
            f"the {here.driver} runtime hands out no GPUs; leave spec.resources.gpus out, or declare driver: docker"
        )
        return blocked(ref, Reason("gpus_not_supported", "spec.resources.gpus", detail=detail))
    if desired.spec.container != Container() and not here.images:
        detail = f"the {here.driver} runtime has no containers; leave spec.container out, or declare driver: docker"
        return blocked(ref, Reason("container_not_supported", "spec.container", detail=detail))
    if observed.in_the_way:
        detail = f"{', '.join(sorted(observed.in_the_way))} exists and is not nexusctl's; rename or remove it"
        return blocked(ref, Reason("unowned_exists", source="drift", detail=detail))
    return None


def _strategy(desired: Resource[DeploymentSpec], memory: Estimate | None, scene: Scene) -> tuple[Verb, Reason | None]:
    """Start-first only when both are known to fit (R14): by the estimate, else by the size of the file."""
    wanted = desired.spec.rollout.strategy
    if wanted != "auto":
        return (Verb.REPLACE_START_FIRST if wanted == "startFirst" else Verb.REPLACE_STOP_FIRST), None
    model, free = scene.models.get(desired.spec.model, ObservedModel()), scene.free_memory_bytes
    size = model.artifact.size_bytes if model.artifact else model.offer.size_bytes if model.offer else None
    if size is None or free is None:
        return Verb.REPLACE_STOP_FIRST, Reason("memory_unknown", detail="it is unknown whether both fit")
    need = memory.host.claim_bytes if memory is not None else size + (desired.spec.resources.memory or 0)
    if need <= free:
        return Verb.REPLACE_START_FIRST, None
    detail = f"a second replica needs {human_bytes(need)}, {human_bytes(free)} are free while the old one runs"
    return Verb.REPLACE_STOP_FIRST, Reason("insufficient_memory", detail=detail)


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


def _notes(desired: Resource[DeploymentSpec], memory: Estimate | None, change: Change) -> tuple[str, ...]:
    takes = (memory_line(memory),) if memory is not None and change.steps else ()
    order = EXCHANGES.get(change.verb)
    if order is None:
        return takes
    name, steps = order
    return (*takes, f"strategy {desired.spec.rollout.strategy} -> {name}", f"order: {steps}")


def _gap(desired: Resource[DeploymentSpec], change: Change, scene: Scene) -> Gap | None:
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
    conditions = [
        _counted("Started", len(started), wanted, "NotRunning", observed),
        _counted("Healthy", len(healthy), wanted, "NotReady", observed),
        _counted("Routed", len(routed), wanted, "NotInTable", observed),
        _counted("Ready", len(routed), wanted, "ReplicasMissing", observed),
    ]
    if desired is not None and desired.spec.suspend:
        conditions.append(Condition("Suspended", "True", "Declared", "spec.suspend is true"))
    if desired is not None:
        conditions += _effective(desired.spec, healthy)
    ended = any(view.replica.exit is not None for view in current)
    columns = {"REPLICAS": f"{len(routed)}/{wanted}", "MODEL": desired.spec.model if desired is not None else "-"}
    return Assessment(
        tuple(conditions),
        _lifecycle(wanted, len(started), len(routed), ended),
        columns,
    )


def _effective(spec: DeploymentSpec, ready: list[ReplicaView]) -> list[Condition]:
    """Whether the engines loaded what is declared, by their own word; nothing where none of them says."""
    told = [view for view in ready if view.answers]
    unlike = dict.fromkeys(str(one) for view in told for one in engines.unlike(spec, view.answers))
    if unlike:
        return [Condition(EFFECTIVE, "False", "LoadedOtherwise", "; ".join(unlike))]
    return [Condition(EFFECTIVE, "True", "LoadedAsDeclared", f"{len(told)} asked")] if told else []


def _current(desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> list[ReplicaView]:
    """The replicas that are what is declared."""
    by_index = dict(enumerate(incoming(desired, observed, scene)))
    owned = [(view, view.replica.owner.replica) for view in observed.replicas if view.replica.owner is not None]
    return [view for view, i in owned if i in by_index and not differences(desired, view, by_index[i])]


def _lifecycle(wanted: int, started: int, routed: int, ended: bool) -> str:
    if wanted and routed >= wanted:
        return "READY"
    return "LOADING" if started else "FAILED:LOADING" if ended else "STOPPED"


def _counted(type_: str, have: int, wanted: int, reason: str, observed: ObservedDeployment) -> Condition:
    if have >= wanted:
        return Condition(type_, "True", "AllReplicas", f"{have} of {wanted}")
    ended = [f"{v.replica.name} {v.replica.exit}" for v in observed.replicas if v.replica.exit is not None]
    return Condition(type_, "False", reason, "; ".join([f"{have} of {wanted}", *ended]))


CONTROLLER = Controller(KIND, present, observe, applied, plan, forget, assess)

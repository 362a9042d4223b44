"""Which deployments there are, and what is found of each: replicas probed and asked, rows, names in the way, headers.

Reads the world and never writes. The rule: a name is looked up and a header read only where a replica is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from controllers.base import Scene, Sighting
from controllers.deployment.files import Headers, headers
from controllers.make import KIND, incoming, probe_of
from controllers.renaming import former_names
from nexus_ctl.engines import table as engines
from nexus_ctl.engines.llama_cpp_headers import SERVED
from nexus_ctl.errors import ActionError
from nexus_ctl.execution.secrets import sendable
from nexus_ctl.execution.world import World
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import ADOPT, Ref, Resource
from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.observed import ObservedDeployment, ReplicaView
from nexus_ctl.resources.replica import Health, ReplicaState

PROBES_AT_ONCE = 16


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
    keys = world.keys.all()
    served_once = {name for rows in sighting.table.endpoints.values() for name in rows}

    def view(replica: Any) -> ReplicaView:
        if replica.state is not ReplicaState.RUNNING or replica.paused:
            return ReplicaView(replica)
        known = replica.name in served_once
        if not replica.address:
            return ReplicaView(replica, lost="out of reach: no port of it is published" if known else "")
        spec = specs.get(replica.owner.name)
        probe = probe_of(spec) if spec is not None else ReadyProbe()
        key = keys.get(replica.name, "")
        health = world.prober.look(replica.address, probe, key)
        reads = engines.reads(spec) if spec is not None and health is Health.READY else ()
        answers = world.prober.ask(replica.address, reads, probe.timeout_seconds, key)
        deaf = known and health is Health.DOWN and Ref(KIND, replica.owner.name) in scene.retry
        return ReplicaView(replica, health, answers, keyed=bool(key), lost="deaf: its probe says down" if deaf else "")

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
    own, sources = engines.key(resource.spec), engines.secret_env(resource.spec)
    try:
        values = {name: world.secret(source) for name, source in sorted(sources.items())}
        if own is not None:
            sendable(values[own[0]])
        secrets_digest = world.fingerprint(values)
    except ActionError as error:
        return replace(seen, error=error.told)
    observed = replace(seen, secrets_digest=secrets_digest)
    ours = {view.replica.name for view in seen.replicas}
    running = {view.replica.name for view in seen.replicas if view.replica.state is ReplicaState.RUNNING}
    wanted = {new.name for new in incoming(resource, observed, scene)}
    taken = frozenset(name for name in wanted - ours if world.runtime.inspect(name) is not None)
    told = headers(world, scene, resource.spec) if wanted - running else Headers({}, {})
    beside = {path: header for path, header in told.found.items() if path != SERVED}
    name = resource.metadata.annotations.get(ADOPT)
    adoptable = world.runtime.candidate(name) if name and not ours else None
    return replace(
        observed,
        adoptable=adoptable,
        in_the_way=taken,
        header=told.found.get(SERVED),
        checkpoint=told.checkpoint,
        beside=beside,
        no_gguf=told.no_gguf,
    )

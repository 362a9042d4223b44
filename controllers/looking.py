"""One look at everything: one list per port, then each kind's own questions. What planning and assessment read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from controllers.base import Scene, Sighting
from controllers.gateway import KIND as GATEWAY
from controllers.image import KIND as IMAGE
from controllers.image import named_by
from controllers.make import KIND as DEPLOYMENT
from controllers.reverting import held, respecified
from controllers.seating import berths
from controllers.table import CONTROLLERS
from nexus_ctl.engines import table as engines
from nexus_ctl.execution.world import World
from nexus_ctl.planning.machine import Machine
from nexus_ctl.resources.backoff import MIN_HEALTHY_SECONDS, Backoff, fold
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.device import GpuUse
from nexus_ctl.resources.envelope import Metadata, Ref, Resource
from nexus_ctl.resources.launch import LaunchSpec
from nexus_ctl.resources.normal import Normal
from nexus_ctl.resources.observed import Recorded
from nexus_ctl.resources.placed import Placed
from nexus_ctl.resources.replica import Health, ReplicaState


@dataclass(frozen=True, slots=True)
class Options:
    """What a person asked for beyond the manifests."""

    prune: bool = False
    max_prune: int | None = None
    delete: frozenset[Ref] = frozenset()
    """Objects to remove, whether declared or not."""
    only: frozenset[Ref] | None = None
    """Plan these alone; None plans everything."""
    refresh: bool = False
    adopt: bool = False
    """Take over what an annotation names, where it is nobody's (R10)."""
    retry: frozenset[Ref] = frozenset()
    """Objects to try at once, whatever they died of before."""
    keeping: bool = False
    """Nobody asked for anything: what serves is not replaced for a reason that no manifest gives."""
    as_applied: bool = False
    """Hold the world against what was applied last, where that is known, and not against what is declared by now."""
    upstream: bool = False
    """Also ask whether the branches that models were taken from have moved: one request a source, not waited for."""


@dataclass(frozen=True)
class Look:
    """One observation of everything: what planning and assessment read."""

    scene: Scene
    desired: Mapping[Ref, Resource[Any]]
    observed: Mapping[Ref, Any]
    recorded: Mapping[Ref, Recorded]
    applied: Mapping[Ref, Normal] = field(default_factory=dict)
    """What was last made true of each object that exists, from the store or else from the world itself."""
    images: Mapping[Ref, Ref] = field(default_factory=dict)
    """The image each deployment needs, where the runtime has images."""


def look(world: World, stack: Stack, scene: Scene, recorded: Mapping[Ref, Recorded], options: Options) -> Look:
    """Read the world: one list per port, then each kind's own questions."""
    sighting = Sighting(
        replicas=world.runtime.list(),
        host_replicas=world.host.list(),
        table=world.routing.read(),
        pins=world.artifacts.pins(scene.instance, scene.set),
        recorded=recorded,
    )
    desired: dict[Ref, Resource[Any]] = {r: res for r, res in stack.resources.items() if r not in options.delete}
    if any(ref.kind == "Route" for ref in desired):
        gateway = Resource(GATEWAY, Metadata(scene.set), stack.settings.gateway)
        desired[gateway.ref] = gateway
    scene = replace(scene, recorded=recorded)
    scene = replace(scene, held=held(desired, scene, options.retry))
    settled = desired.keys() & recorded.keys() if options.as_applied else scene.held.keys()
    other = {ref: recorded[ref].spec for ref in settled if recorded[ref].spec != desired[ref].normalised}
    desired |= {ref: respecified(desired[ref], spec) for ref, spec in other.items()}
    launches = {ref: engines.launch(item.spec) for ref, item in desired.items() if ref.kind == DEPLOYMENT}
    images = _images(world, launches, stack, options)
    desired |= {ref: image for ref, (image, _) in images.items()}
    scene = replace(
        scene,
        launches=launches,
        machine=_machine(world, sighting, scene.set, desired),
        placement=stack.settings.placement,
        refresh=options.refresh,
        adopt=options.adopt,
        retry=options.retry,
        lock=stack.lock,
        look_upstream=options.upstream,
        removal="delete" if options.delete else "prune",
    )
    observed: dict[Ref, Any] = {}
    applied: dict[Ref, Normal] = {ref: entry.spec for ref, entry in recorded.items()}
    for kind, controller in CONTROLLERS.items():
        refs = frozenset(ref for ref in desired if ref.kind == kind) | controller.present(sighting, scene.set)
        refs |= frozenset(ref for ref in recorded if ref.kind == kind)
        found = controller.observe(world, sighting, scene, {r: desired[r] for r in refs if r in desired}, refs)
        observed |= found
        if kind == "Model":
            coming = sum(max((o.offer.size_bytes or 0) - o.partial_bytes, 0) for o in found.values() if o.offer)
            scene = replace(scene, models={ref.name: value for ref, value in found.items()})
            scene = replace(scene, room=world.artifacts.room(coming)) if coming else scene
        if kind == DEPLOYMENT:
            views = (view for value in found.values() for view in value.replicas)
            ready = frozenset(view.replica.name for view in views if view.health is Health.READY)
            scene = replace(scene, answering=ready)
        if kind == IMAGE:
            scene = replace(scene, images={ref.name: value for ref, value in found.items()})
        for ref, value in found.items():
            normal = controller.applied(value)
            if ref not in applied and normal is not None:
                applied[ref] = normal
    declared = {ref: resource for ref, resource in desired.items() if ref.kind == DEPLOYMENT}
    planned = declared if options.only is None else {ref: declared[ref] for ref in options.only & declared.keys()}
    scene = replace(scene, berths=berths(planned, observed, scene))
    scene = replace(scene, backoffs=_folded(scene, desired, observed, options.retry))
    needed = {user: ref for ref, (_, users) in images.items() for user in users}
    return Look(scene, desired, observed, recorded, applied, needed)


def _machine(world: World, sighting: Sighting, set_name: str, desired: Mapping[Ref, Resource[Any]]) -> Machine:
    """The machine's memory. The driver is asked only where GPUs are declared or held."""
    running = [replica for replica in sighting.replicas if replica.state is ReplicaState.RUNNING]
    placed = {r.name: found for r in running if r.owner and (found := Placed.from_label(r.owner.placement)) is not None}
    asked = any(ref.kind == DEPLOYMENT and item.spec.resources.gpus is not None for ref, item in desired.items())
    return Machine(
        gpus=world.gpus(running) if asked or any(one.devices for one in placed.values()) else GpuUse(),
        free_bytes=world.free_memory(),
        placed=placed,
        ours=frozenset(r.name for r in running if r.owner is not None and r.owner.set == set_name),
    )


def _folded(
    scene: Scene, desired: Mapping[Ref, Resource[Any]], observed: Mapping[Ref, Any], retry: frozenset[Ref]
) -> Mapping[str, Backoff]:
    """What is remembered of replicas that ended, with what this look saw."""
    found = {name: one for name, one in scene.backoffs.items() if one.ref not in retry}
    for ref, value in observed.items():
        spec = desired[ref].spec if ref in desired else None
        steady = spec.rollout.min_healthy if isinstance(spec, DeploymentSpec) else MIN_HEALTHY_SECONDS
        for view in getattr(value, "replicas", ()):
            name = view.replica.name
            one = fold(found.get(name), ref, view, now=scene.now, min_healthy_seconds=steady)
            found |= {name: one} if one is not None else {}
    return found


def _images(
    world: World, launches: Mapping[Ref, LaunchSpec], stack: Stack, options: Options
) -> Mapping[Ref, tuple[Resource[Any], frozenset[Ref]]]:
    if world.images is None:
        return {}
    settings = stack.settings.runtime
    if options.keeping and settings.pull_policy == "Always":  # whether a tag has moved is an apply's question
        settings = settings.model_copy(update={"pull_policy": "IfNotPresent"})
    return named_by(launches, settings)

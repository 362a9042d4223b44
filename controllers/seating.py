"""Seating: what every deployment's replicas should be, and where those that are to be made come to lie.

Made once per look, after everything was observed and before any deployment is planned or assessed: places are given
out to all deployments together, so that no two are promised the same bytes. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from controllers.base import Berth, Scene, suspended
from controllers.make import content_of, differences, incoming
from nexus_ctl.engines import table as engines
from nexus_ctl.planning.replicas import changing
from nexus_ctl.planning.rollout import Incoming
from nexus_ctl.planning.running import Learned, as_launched, beside_key, candidates, runs
from nexus_ctl.planning.seats import Claimant, Seated, assign
from nexus_ctl.resources.declared import models_of
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.device import Device
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.observed import ObservedDeployment, ObservedModel, ReplicaView
from nexus_ctl.resources.placed import Placed
from nexus_ctl.resources.placement import Assignment, Resident


def berths(
    desired: Mapping[Ref, Resource[DeploymentSpec]], observed: Mapping[Ref, Any], scene: Scene
) -> Mapping[Ref, Berth]:
    """A berth for every declared deployment."""
    found = {ref: Berth(incoming(resource, observed[ref], scene)) for ref, resource in desired.items()}
    claimants: list[Claimant] = []
    staying: list[Resident] = []
    for ref, resource in desired.items():
        exchanged, fresh = changing(
            found[ref].incoming,
            observed[ref].replicas,
            lambda view, new, resource=resource: differences(resource, view, new),  # type: ignore[misc]
        )
        staying += _residents(resource, observed[ref], exchanged, scene)
        if (exchanged or fresh) and _may_be_made(resource, observed[ref], scene):
            claimants.append(_claimant(resource, observed[ref], exchanged, fresh, scene))
    if not any(claimant.runs for claimant in claimants):
        return found
    places, held = scene.machine.rooms(scene.placement), scene.machine.held
    seats = assign(claimants, places, held, staying, scene.placement.total)
    victims = {name: ref for ref, seat in seats.items() for name in seat.evicts}
    return {
        ref: Berth(
            _launched(berth.incoming, seats[ref].seated, scene) if ref in seats else berth.incoming,
            seats.get(ref),
            {name: victims[name] for view in observed[ref].replicas if (name := view.replica.name) in victims},
        )
        for ref, berth in found.items()
    }


def _may_be_made(resource: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> bool:
    """Whether a replica would be made at all; what is held up by something else claims nothing."""
    models = (scene.models.get(name, ObservedModel()) for name in models_of(resource.spec).values())
    held = suspended(resource.ref, resource, scene)
    return not held and not observed.error and all(model.identity for model in models)


def _claimant(
    resource: Resource[DeploymentSpec],
    observed: ObservedDeployment,
    exchanged: Mapping[int, ReplicaView],
    fresh: tuple[int, ...],
    scene: Scene,
) -> Claimant:
    spec, devices = resource.spec, _devices(resource.spec, scene)
    gpus = spec.resources.gpus
    running = {_index(view) for view in observed.replicas}
    adopted = {0} if scene.adopt and observed.adoptable is not None else set()
    known = spec.resources.gpus is not None or scene.machine.free_bytes is not None
    return Claimant(
        ref=resource.ref,
        runs=runs(
            spec,
            observed.header,
            model_bytes(spec, scene),
            devices,
            learned(resource, scene),
            files=observed.beside,
            checkpoint=observed.checkpoint,
        )
        if known
        else (),
        strategy=spec.placement.strategy or scene.placement.strategy,
        priority=spec.placement.priority,
        pins=tuple(device.id for device in devices) if gpus is not None and gpus.ids is not None else (),
        # a lost one bears its successor's name, so it goes first
        order="stopFirst" if any(view.lost for view in exchanged.values()) else spec.rollout.strategy,
        exchanges={index: _placed(view, scene) for index, view in exchanged.items()},
        fresh=tuple(i for i in fresh if i not in adopted and (spec.drift == "heal" or i not in running)),
    )


def model_bytes(spec: DeploymentSpec, scene: Scene) -> int | None:
    """Size of the files of all its models, here or offered; None when one is unknown."""
    sizes = []
    for name in sorted(set(models_of(spec).values())):
        model = scene.models.get(name, ObservedModel())
        sizes.append(model.artifact.size_bytes if model.artifact else model.offer.size_bytes if model.offer else None)
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def learned(resource: Resource[DeploymentSpec], scene: Scene) -> Learned:
    """Earlier starts of the same files by the same build of the engine."""
    known = all(scene.models.get(name, ObservedModel()).identity for name in models_of(resource.spec).values())
    files = " ".join(filter(None, (content_of(resource.spec, scene), beside_key(resource.spec)))) if known else ""
    image = scene.images.get(scene.launches[resource.ref].image)
    build = image.identity if image is not None else scene.capabilities.engine_build
    return Learned((files, build), scene.reports)


def _devices(spec: DeploymentSpec, scene: Scene) -> tuple[Device, ...]:
    return candidates(spec.resources.gpus, scene.machine.gpus.devices.devices)


def _placed(view: ReplicaView, scene: Scene) -> Placed | None:
    """What a running replica holds; None where neither its label nor the driver says."""
    held = scene.machine.held_by(view.replica.name)
    known = scene.machine.placed.get(view.replica.name, Placed())
    return replace(known, claims=held) if held else None


def _residents(
    resource: Resource[DeploymentSpec], observed: ObservedDeployment, exchanged: Mapping[int, ReplicaView], scene: Scene
) -> Iterable[Resident]:
    """The replicas that stay as they are, and might have to go for a higher priority."""
    leaving = {view.replica.name for view in exchanged.values()}
    kept = bool(resource.metadata.protect) or bool(suspended(resource.ref, resource, scene))
    for view in observed.replicas:
        held = scene.machine.held_by(view.replica.name)
        if held and view.replica.name not in leaving:
            yield Resident(Assignment(view.replica.name, "", held), resource.spec.placement.priority, kept)


def _launched(found: tuple[Incoming, ...], seated: Mapping[int, Seated], scene: Scene) -> tuple[Incoming, ...]:
    """Each replica that has a seat, with its devices and its part of them in what is run."""
    totals = {device.id: device.total_bytes for device in scene.machine.gpus.devices.devices}

    def placed(new: Incoming) -> Incoming:
        seat = seated.get(new.replica.owner.replica)
        if seat is None:
            return new
        launch = engines.launch(as_launched(seat.run, seat.placed.devices, totals))
        owner = replace(new.replica.owner, placement=seat.placed.label())
        return replace(new, replica=replace(new.replica, owner=owner, launch=launch))

    return tuple(placed(new) for new in found)


def _index(view: ReplicaView) -> int:
    return view.replica.owner.replica if view.replica.owner is not None else -1

"""What the living replicas of a deployment were launched as: the declared spec, with the place that each was given.

Called by `export compose`, which writes down what runs. A replica's label says where it lies and in which way
(`resources/placed.py`); the split that this way stands for follows from the model's headers, as it did when it was
placed. The rule: only a replica of the spec as it is declared now counts, and what cannot be told exactly is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from controllers.base import Scene
from controllers.deployment.files import headers
from controllers.make import KIND, made_from
from nexus_ctl.engines.llama_cpp_headers import SERVED
from nexus_ctl.execution.world import World
from nexus_ctl.planning.diff import compare
from nexus_ctl.planning.running import as_launched, runs
from nexus_ctl.resources.declared import models_of
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.device import Device
from nexus_ctl.resources.envelope import Resource
from nexus_ctl.resources.observed import ObservedModel
from nexus_ctl.resources.placed import Placed
from nexus_ctl.resources.replica import ObservedReplica, ReplicaState
from nexus_ctl.resources.weights import GgufHeader


def standing(
    world: World, scene: Scene, deployment: Resource[DeploymentSpec], replicas: Iterable[ObservedReplica]
) -> Mapping[int, DeploymentSpec]:
    """The specs that the running replicas on GPUs were launched from, by index. `scene.models` are their models."""
    living = [one for one in replicas if _is_current(deployment, scene.set, one)]
    labels = {one.owner.replica: Placed.from_label(one.owner.placement) for one in living if one.owner is not None}
    placed = {index: found for index, found in sorted(labels.items()) if found is not None and found.devices}
    if not placed:
        return {}
    spec, devices = deployment.spec, world.gpus(living).devices.devices
    artifacts = [scene.models.get(name, ObservedModel()).artifact for name in set(models_of(spec).values())]
    size = sum(one.size_bytes for one in artifacts if one is not None)
    found = headers(world, scene, spec).found
    told = {index: as_placed(spec, one, devices, found, size) for index, one in placed.items()}
    return {index: one for index, one in told.items() if one is not None}


def as_placed(
    spec: DeploymentSpec,
    placed: Placed,
    devices: Iterable[Device],
    files: Mapping[str, GgufHeader],
    size_bytes: int,
) -> DeploymentSpec | None:
    """`spec` as it was launched to lie as the label says; None where that cannot be told any more."""
    known = {device.id: device for device in devices if not device.lost}
    here = [known[name] for name in placed.devices if name in known]
    beside = {path: header for path, header in files.items() if path != SERVED}
    ways = runs(spec, files.get(SERVED), size_bytes, here, files=beside)
    way = next((one for one in ways if one.option.label == placed.option), None)
    if way is None or len(here) < len(placed.devices):
        return None
    claims = tuple(placed.claims[device] for device in placed.devices)
    totals = {device.id: device.total_bytes for device in here}
    return as_launched(replace(way, option=replace(way.option, claims=claims)), placed.devices, totals)


def _is_current(deployment: Resource[DeploymentSpec], set_name: str, replica: ObservedReplica) -> bool:
    owner: Any = replica.owner
    if owner is None or (owner.set, owner.kind, owner.name) != (set_name, KIND, deployment.metadata.name):
        return False
    changed = any(one.mark.in_hash for one in compare(DeploymentSpec, made_from(owner), deployment.normalised))
    return replica.state is ReplicaState.RUNNING and not changed

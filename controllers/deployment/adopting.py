"""Taking over what somebody else started (R10): whether it may be, and what of it is not as declared. Pure.

Called by the plan of a Deployment. The rule: only on request, only what is nobody's, and only what serves the declared
model; all else that differs is told, and stays until a change makes the replica anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from controllers.base import Scene
from nexus_ctl.planning.action import AdoptReplica
from nexus_ctl.planning.diff import FieldChange, compare
from nexus_ctl.resources.adoption import Candidate
from nexus_ctl.resources.declared import models_of
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import ADOPT, Resource
from nexus_ctl.resources.normal import canonical_json, normalise
from nexus_ctl.resources.observed import ObservedDeployment, ObservedModel
from nexus_ctl.resources.replica import ReplicaState


def takes(desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> Mapping[int, AdoptReplica]:
    """The first replica, where a person asked for what the annotation names and `why_not` has nothing to say."""
    found = observed.adoptable
    if not scene.adopt or found is None or not desired.spec.replicas:
        return {}
    owner = scene.berths[desired.ref].incoming[0].replica.owner
    return {0: AdoptReplica(found.replica.name, found.replica.runtime_id, replace(owner, placement=""))}


def why_not(desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> str:
    """Why what a person asked to take over cannot be; "" when it can, or nobody asked."""
    name, found = desired.metadata.annotations.get(ADOPT), observed.adoptable
    if not scene.adopt or not name or observed.replicas:
        return ""
    if not scene.capabilities.adopts:
        return f"the {scene.capabilities.driver} runtime takes nothing over; only containers can be"
    if found is None:
        return f"there is no container {name}"
    there = found.replica
    if there.owner is not None:
        return f"{name} belongs to {there.owner.kind}/{there.owner.name} of the stack {there.owner.set}"
    if there.state is not ReplicaState.RUNNING:
        return f"{name} does not run ({there.condition}); start it, or leave the annotation out"
    if there.paused:
        return f"{name} is paused; let it go on (docker unpause {name}), or leave the annotation out"
    if found.refused:
        return f"{name} cannot be taken over: {found.refused}"
    if not there.address:
        return f"{name} publishes no port of its engine on this machine, so the gateway cannot reach it"
    limits = scene.launches[desired.ref].limits
    if there.limits != limits:
        return (
            f"{name} has {there.limits}, declared is {limits}; declare resources.cpu and resources.memory as they are"
        )
    return _other_model(desired, found, scene)


def notes(desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> tuple[str, ...]:
    """What stays otherwise than declared where something is taken over; where it is not, that it goes on beside."""
    found = observed.adoptable
    if found is None or found.replica.owner is not None or found.replica.state is not ReplicaState.RUNNING:
        return ()
    if not scene.adopt:
        return (f"{found.replica.name} goes on beside it; to take it over instead: nexusctl apply --adopt=if-unowned",)
    return tuple(f"until then: {line}" for line in (*_unlike(desired, found), *found.left_out))


def _other_model(desired: Resource[DeploymentSpec], found: Candidate, scene: Scene) -> str:
    for path, name in models_of(desired.spec).items():
        reads = found.files.get(path, "no file")
        if reads not in _files(scene.models.get(name, ObservedModel())):
            return f"{path} is Model/{name}, and {found.replica.name} reads {reads}"
    return ""


def _files(model: ObservedModel) -> frozenset[str]:
    source = model.request.source.path if model.request is not None else None
    artifact = (model.artifact.path, *model.artifact.files) if model.artifact is not None else ()
    return frozenset(filter(None, (source, *artifact)))


def _unlike(desired: Resource[DeploymentSpec], found: Candidate) -> tuple[str, ...]:
    """The fields that a replica of ours would have otherwise; what its Model is called says nothing."""
    there = DeploymentSpec.model_validate(dict(found.spec), by_alias=True, by_name=False)
    names = models_of(there).keys() | models_of(desired.spec).keys()
    fields = compare(DeploymentSpec, normalise(there), desired.normalised)
    return tuple(
        _differs(one) for one in fields if one.mark.in_hash and not any(path.startswith(one.path) for path in names)
    )


def _differs(one: FieldChange) -> str:
    """A variable of somebody else's may hold a secret, so no value of one is told."""
    if one.path.startswith("spec.env"):
        return f"{one.path} differs"
    before, after = ("unset" if value is None else canonical_json(value) for value in (one.before, one.after))
    return f"{one.path} is {before}, declared is {after}"

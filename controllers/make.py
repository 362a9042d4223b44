"""What a deployment's replicas are made from: each as it should be, each that leaves, and why one is not current.

The rule kept here: a replica is current when what it was made from (spec, model bytes, image, secrets) is what is
declared, whatever its hash label's version.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from controllers.base import Scene
from nexus_ctl.engines import table as engines
from nexus_ctl.planning import rollout
from nexus_ctl.planning.action import StartReplica
from nexus_ctl.planning.change import Reason
from nexus_ctl.planning.diff import compare
from nexus_ctl.resources.declared import models_of
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import Resource
from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.normal import canonical_json
from nexus_ctl.resources.observed import ObservedDeployment, ObservedModel, ReplicaView
from nexus_ctl.resources.ownership import Ownership, replica_name
from nexus_ctl.resources.replica import Replica, ReplicaState

KIND = "Deployment"
SERVED = "spec.model"


def incoming(
    desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene
) -> tuple[rollout.Incoming, ...]:
    """One replica to be per index."""
    spec, name = desired.spec, desired.metadata.name
    launch = scene.launches[desired.ref]
    found = {name: scene.models.get(name, ObservedModel()) for name in models_of(spec).values()}
    requests = {name: model.request for name, model in found.items() if model.request is not None}
    owner = Ownership(
        instance=scene.instance,
        set=scene.set,
        kind=KIND,
        name=name,
        replica=0,
        spec_hash=desired.spec_hash,
        spec=canonical_json(desired.normalised),
        generation=next_generation(desired, scene),
        model_digest=content_of(spec, scene),
        image_digest=scene.images[launch.image].identity if launch.image in scene.images else "",
        secrets_digest=observed.secrets_digest,
        protected=desired.metadata.protect_words,
        version=scene.version,
    )
    made_of = (scene.instance, owner.spec_hash, owner.model_digest, owner.image_digest, owner.secrets_digest)
    return tuple(
        rollout.Incoming(
            Replica(replica_name(scene.set, name, index, *made_of), replace(owner, replica=index), launch),
            requests,
            probe_of(spec),
        )
        for index in range(spec.replicas)
    )


def content_of(spec: DeploymentSpec, scene: Scene) -> str:
    """What the model files are or will be: the identity of the served one alone, or, where others come along, with the
    path of each: `sha256:1 spec.engine.llamaCpp.draft.model=sha256:2`."""
    found = {path: scene.models.get(name, ObservedModel()).identity for path, name in models_of(spec).items()}
    served = found.pop(SERVED)
    return " ".join([served, *(f"{path}={identity}" for path, identity in sorted(found.items()))])


def _contents(content: str) -> dict[str, str]:
    """The same, taken apart: identity by path."""
    served, *others = re.split(r" (?=spec\.)", content)
    return {SERVED: served} | {path: identity for path, _, identity in (one.partition("=") for one in others)}


def next_generation(desired: Resource[Any], scene: Scene) -> int:
    """The generation the store will give this wish: one more exactly when the normal form differs (R2)."""
    recorded = scene.recorded.get(desired.ref)
    if recorded is None:
        return 1
    return recorded.generation + (recorded.spec != desired.normalised)


def outgoing(view: ReplicaView, routed_as: str) -> rollout.Outgoing:
    """A replica that leaves, by the deadlines it was made with."""
    owner = view.replica.owner
    assert owner is not None
    before = DeploymentSpec.model_validate(made_from(owner), by_alias=True, by_name=False)
    launch = engines.launch(before)
    return rollout.Outgoing(
        name=view.replica.name,
        running=view.replica.state is ReplicaState.RUNNING,
        routed_as=routed_as,
        drain_seconds=before.rollout.drain_deadline,
        grace_seconds=before.rollout.stop_deadline,
        start=StartReplica(view.replica.name, launch.secret_env, launch.key_env),
        probe=probe_of(before),
        busy=engines.busy(before),
    )


def probe_of(spec: DeploymentSpec) -> ReadyProbe:
    """The probe in seconds."""
    probe = spec.probe
    return ReadyProbe(probe.path, probe.interval, probe.timeout, probe.progress_deadline, probe.healthy_deadline)


def made_from(owner: Ownership) -> dict[str, Any]:
    """The normal form a replica was made from, as its label says; empty when the label cannot be read."""
    try:
        found = json.loads(owner.spec)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def differences(desired: Resource[DeploymentSpec], view: ReplicaView, new: rollout.Incoming) -> tuple[Reason, ...]:
    """Why a replica is not current. Judged by what its spec label means today, not by its hash label's text, so that
    a newer nexusctl with another hash schema restarts nothing (R7)."""
    owner, want = view.replica.owner, new.replica.owner
    assert owner is not None
    fields = compare(DeploymentSpec, made_from(owner), desired.normalised)
    reasons = [Reason.of(change) for change in fields if change.mark.in_hash]
    was, now = _contents(owner.model_digest), _contents(want.model_digest)
    for path in sorted(was.keys() | now.keys()):
        if was.get(path) != now.get(path):
            said = any(path.startswith(f"{reason.path}[") for reason in reasons)
            named = [Reason.of(change) for change in fields if change.path == path]
            changed = Reason("model_files_changed", path, was.get(path), now.get(path), "replace")
            reasons += [] if said else named or [changed]
    if owner.image_digest != want.image_digest:
        reasons.append(Reason("image_digest_changed", "image", owner.image_digest, want.image_digest, "replace"))
    if owner.secrets_digest != want.secrets_digest:
        where = engines.secrets_at(desired.spec, engines.made_of(owner))
        reasons.append(Reason("secret_changed", where, "*** (before)", "*** (after)", "replace"))
    return tuple(reasons)

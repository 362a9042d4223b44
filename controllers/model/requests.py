"""What a Model asks of the cache: its source and the steps that build from it, held to the lock.

Pure. Commands that look at models without a plan ask the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from nexus_ctl.resources.artifact import BuildStep, Conversion, Quantization, Request
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.lock import Lock
from nexus_ctl.resources.model import Imatrix, ModelSpec, Source

KIND = "Model"


def declared_request(stack: Stack, name: str) -> Request:
    """What a declared Model asks for, as the stack's lock pins it. Raises KeyError where there is no such Model."""
    specs = {ref.name: resource.spec for ref, resource in stack.resources.items() if ref.kind == KIND}
    return locked_request(name, specs, stack.lock)


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


def locked_request(name: str, specs: Mapping[str, ModelSpec], lock: Lock | None) -> Request:
    """What a Model asks for, held to the lock; a step's other inputs to their own entries."""
    spec = specs[name]
    request = request_of(spec, specs)
    if lock is None:
        return request
    imatrix = spec.quantize.imatrix if spec.quantize is not None else None

    def held(other: str | None) -> Request | None:
        return locked_request(other, specs, lock) if other is not None and other in specs else None

    model, matrix = (
        held(spec.convert.base if spec.convert is not None else None),
        held(imatrix.model if imatrix else None),
    )
    steps = tuple(
        replace(step, model=model) if isinstance(step, Conversion) else replace(step, imatrix=matrix or step.imatrix)
        for step in request.steps
    )
    return replace(request, steps=steps, locked=lock.of(name, spec))

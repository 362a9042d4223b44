"""What a replica will take, as a plan tells it: the estimate, its line, and the refusal of what can never fit."""

from __future__ import annotations

from nexus_ctl.placement.declared import settings_of
from nexus_ctl.placement.estimate import estimate, largest_context
from nexus_ctl.planning.change import Reason
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.memory import HOST, Estimate, PartKind, PlaceMemory
from nexus_ctl.resources.weights import GgufHeader

SHOWN = {PartKind.WEIGHTS: "weights", PartKind.KV_CACHE: "KV cache", PartKind.COMPUTE: "compute"}
"""The parts a line names; the rest is told as overhead."""


def replica_memory(spec: DeploymentSpec, header: GgufHeader | None) -> Estimate | None:
    """The estimate of one replica on the host; None where the engine or the file has no formula.

    GPU layers are placed by the engine itself until devices are planned, so a deployment with GPUs has none yet.
    """
    engine = spec.engine.llama_cpp
    if engine is None or header is None or spec.resources.gpus is not None:
        return None
    try:
        return estimate(header, settings_of(engine))
    except ValueError:
        return None


def memory_line(found: Estimate) -> str:
    """`memory: 201.9 MiB on the host (weights 92.1 MiB, KV cache 45.0 MiB, compute 16.6 MiB, overhead 48.2 MiB)`."""
    return "; ".join(f"memory: {_place(place)}" for place in found.places if place.total_bytes)


def _place(place: PlaceMemory) -> str:
    named = {word: place.of(kind) for kind, word in SHOWN.items()}
    rest = place.total_bytes - sum(named.values())
    parts = ", ".join(f"{word} {human_bytes(count)}" for word, count in (named | {"overhead": rest}).items() if count)
    where = "on the host" if place.place == HOST else f"on {place.place}"
    return f"{human_bytes(place.total_bytes)} {where} ({parts})"


def refusal(spec: DeploymentSpec, header: GgufHeader, found: Estimate, free_bytes: int | None) -> Reason | None:
    """Why a new replica can not be: what it holds for itself is more than is free. Mapped weights can be read again
    from the file, so they alone never refuse. Names the context that would fit."""
    weights = found.host.of(PartKind.WEIGHTS)
    private = found.host.total_bytes - weights
    if free_bytes is None or private <= free_bytes:
        return None
    detail = f"needs {human_bytes(private)} beside the mapped weights, {human_bytes(free_bytes)} are free"
    engine = spec.engine.llama_cpp
    context = largest_context(header, settings_of(engine), {HOST: free_bytes + weights}) if engine is not None else 0
    fits = f"; contextSize {context} would fit" if context else "; no context would fit"
    return Reason("insufficient_memory", "spec.engine.llamaCpp.contextSize", detail=detail + fits)

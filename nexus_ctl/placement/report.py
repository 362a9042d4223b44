"""What the engine says it allocated, read from its log, and estimates corrected by it.

Called after a start with the replica's log lines (verbosity 4); pure. A report is worth keeping under `learning_key`:
the same model, settings, build and kind of device allocate the same again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nexus_ctl.resources.memory import HOST, Basis, EngineSettings, Estimate, Part, PartKind, PlaceMemory
from nexus_ctl.resources.normal import digest

_LINE = re.compile(r":\s+(?P<place>\S+)\s+(?P<kind>model|KV|RS|compute|output) buffer size =\s+(?P<mib>\d+\.\d+) MiB")
_KINDS = {
    "model": PartKind.WEIGHTS,
    "KV": PartKind.KV_CACHE,
    "RS": PartKind.RECURRENT,
    "compute": PartKind.COMPUTE,
    "output": PartKind.OUTPUT,
}
_HOST_PLACE = re.compile(r"^CPU(_|$)|_Host$|_Mapped$")
ROUNDING_BYTES = int(0.005 * (1 << 20)) + 1
"""A printed size is this far from the true one at most."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """One buffer as the engine printed it: `place` in its words (`CPU_REPACK`, `CUDA0`), size to 0.01 MiB."""

    place: str
    kind: PartKind
    bytes: int

    @property
    def on_host(self) -> bool:
        """In the machine's RAM, pinned or not."""
        return bool(_HOST_PLACE.search(self.place))


def parse_buffers(lines: Iterable[str]) -> tuple[Buffer, ...]:
    """The buffers of one start, in the order of the log; lines that are not about buffers are passed over."""
    found = (_LINE.search(line) for line in lines)
    return tuple(
        Buffer(match["place"], _KINDS[match["kind"]], round(float(match["mib"]) * (1 << 20)))
        for match in found
        if match
    )


def learning_key(fingerprint: str, settings: EngineSettings, build: str, device_kinds: Iterable[str]) -> str:
    """16 hex digits that a report may be kept under; whatever changes the allocation changes the key."""
    return digest([fingerprint, asdict(settings), build, list(device_kinds)])


@dataclass(frozen=True, slots=True)
class Report:
    """What one start told: the engine's own buffers, and what its process then held of each device, in the engine's
    order (empty where the driver does not tell)."""

    buffers: tuple[Buffer, ...] = ()
    process_bytes: tuple[int, ...] = ()

    @property
    def total_bytes(self) -> int:
        """All buffers together, everywhere."""
        return sum(buffer.bytes for buffer in self.buffers)

    def to_json(self) -> dict[str, Any]:
        """As the store keeps it."""
        return {
            "buffers": [[buffer.place, buffer.kind.value, buffer.bytes] for buffer in self.buffers],
            "processBytes": list(self.process_bytes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Report:
        """From `to_json`'s form."""
        buffers = tuple(Buffer(place, PartKind(kind), size) for place, kind, size in value["buffers"])
        return cls(buffers, tuple(value["processBytes"]))


def corrected(estimate: Estimate, report: Report) -> Estimate:
    """The estimate with what an earlier start of the same told, in place of every part that it speaks of."""
    ids = [place.place for place in estimate.devices]
    names = {f"CUDA{index}": device for index, device in enumerate(ids)}
    found = with_report(estimate, report.buffers, names)
    held = zip(ids, report.process_bytes, strict=False)
    return with_process_memory(found, {device: size for device, size in held if size})


def buffer_bytes(estimate: Estimate) -> int:
    """What the estimate says of all that an engine reports as buffers, everywhere together."""
    kinds = frozenset(_KINDS.values())
    return sum(part.bytes for place in estimate.places for part in place.parts if part.kind in kinds)


def with_report(estimate: Estimate, buffers: Iterable[Buffer], devices: Mapping[str, str]) -> Estimate:
    """The estimate with every reported kind replaced. `devices` maps the engine's device names to ours."""
    sums: dict[tuple[str, PartKind], list[int]] = {}
    for buffer in buffers:
        place = HOST if buffer.on_host else devices.get(buffer.place)
        if place is not None:
            sums.setdefault((place, buffer.kind), []).append(buffer.bytes)
    for place in {place for place, _ in sums}:
        parts = [
            Part(kind, sum(sizes), Basis.LEARNED, ROUNDING_BYTES * len(sizes), "reported by the engine")
            for (where, kind), sizes in sums.items()
            if where == place
        ]
        estimate = estimate.with_parts(place, parts)
    return estimate


def with_oracle(estimate: Estimate, compute_bytes: Mapping[str, int]) -> Estimate:
    """The estimate with the compute buffers that the engine itself computed, by place.

    Weights and caches stay: they are exact already, and the oracle leaves repacked weights out.
    """
    for place, size in compute_bytes.items():
        estimate = estimate.with_parts(
            place, [Part(PartKind.COMPUTE, size, Basis.ORACLE, ROUNDING_BYTES, "the engine")]
        )
    return estimate


def with_process_memory(estimate: Estimate, used_bytes: Mapping[str, int]) -> Estimate:
    """The estimate with the overhead that a running process shows: what it holds in a place beyond all other parts."""
    for place in estimate.places:
        if place.place in used_bytes:
            known = place.total_bytes - place.of(PartKind.OVERHEAD)
            size = max(0, used_bytes[place.place] - known)
            part = Part(PartKind.OVERHEAD, size, Basis.LEARNED, 0, "held by the process beyond its buffers")
            estimate = estimate.with_parts(place.place, [part])
    return estimate


def drift(estimate: Estimate, reported: PlaceMemory) -> float:
    """How far a report lies above (positive) or below the estimate of the same place, as a share of the report."""
    expected = next((place for place in estimate.places if place.place == reported.place), None)
    if expected is None or not reported.total_bytes:
        return 0.0
    kinds = {part.kind for part in reported.parts}
    return 1 - sum(part.bytes for part in expected.parts if part.kind in kinds) / reported.total_bytes

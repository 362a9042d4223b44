"""What the engine says it allocated, read from its log, and estimates corrected by it.

Called after a start with the replica's log lines (verbosity 4); pure. A report is worth keeping under `learning_key`:
the same model, settings, build and kind of device allocate the same again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nexus_ctl.placement.vllm.report import VllmReport
from nexus_ctl.resources.memory import HOST, Basis, EngineSettings, Estimate, Part, PartKind, PlaceMemory
from nexus_ctl.resources.normal import digest

_LINE = re.compile(
    r":\s+(?P<place>\S+)\s+(?P<kind>model|KV|RS|compute|output|LoRA) buffer size =\s+(?P<mib>\d+\.\d+) MiB"
)
_KINDS = {
    "model": PartKind.WEIGHTS,
    "KV": PartKind.KV_CACHE,
    "RS": PartKind.RECURRENT,
    "compute": PartKind.COMPUTE,
    "output": PartKind.OUTPUT,
    "LoRA": PartKind.ADAPTERS,
}
_ALONG = frozenset({PartKind.DRAFT, PartKind.ADAPTERS, PartKind.PROJECTOR})
_REPORTED = _ALONG | frozenset(_KINDS.values())
_RESERVES = re.compile(r"sched_reserve: reserving")
"""A context reserves once when it is made; the model itself again when adapters were attached, in the stead of that."""
_CONTEXT = re.compile(r"llama_context: constructing llama_context")
_DRAFT = re.compile(r"loading draft model")
_PROJECTOR = re.compile(r"CLIP using (?P<place>\S+) backend")
_PROJECTOR_SIZE = re.compile(r"load_hparams: model size:\s+(?P<mib>\d+\.\d+) MiB")
_HOST_PLACE = re.compile(r"^CPU(_|$)|_Host$|_Mapped$")
ROUNDING_BYTES = int(0.005 * (1 << 20)) + 1
"""A printed size is this far from the true one at most."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """One buffer as the engine printed it: `place` in its words (`CPU_REPACK`, `CUDA0`), size to 0.01 MiB.

    All buffers of a draft model are of the kind `draft`, those of a projector of the kind `projector`.
    """

    place: str
    kind: PartKind
    bytes: int

    @property
    def on_host(self) -> bool:
        """In the machine's RAM, pinned or not."""
        return bool(_HOST_PLACE.search(self.place))


def parse_buffers(lines: Iterable[str]) -> tuple[Buffer, ...]:
    """The buffers of one start, in the order of the log; lines that are not about buffers are passed over.

    The engine loads its model and the adapters first, then a draft model and a projector, each announced by a line. A
    second context of the same model is one that drafts with the model's own heads.
    """
    reading = _Reading()
    for line in lines:
        reading.take(line)
    return tuple(reading.buffers())


@dataclass(slots=True)
class _Reading:
    """A log being read. `whose` is what is being loaded, None = the model itself; `reserves` whose compute buffers."""

    whose: PartKind | None = None
    reserves: PartKind | None = None
    contexts: int = 0
    reserved: bool = False
    place: str = ""
    found: list[tuple[PartKind | None, PartKind, str, str]] = field(default_factory=list)

    def take(self, line: str) -> None:
        if match := _LINE.search(line):
            kind = _KINDS[match["kind"]]
            whose = None if kind is PartKind.ADAPTERS else self.whose
            owner = self.reserves if kind is PartKind.COMPUTE else whose
            self.found.append((owner, kind, match["place"], match["mib"]))
        elif _RESERVES.search(line):
            self.reserves, self.reserved = None if self.reserved else self.whose, True
            self.found = [one for one in self.found if one[:2] != (self.reserves, PartKind.COMPUTE)]
        elif _DRAFT.search(line):
            self.whose = self.reserves = PartKind.DRAFT
        elif match := _PROJECTOR.search(line):
            self.whose = self.reserves = PartKind.PROJECTOR
            self.place = match["place"]
        elif (match := _PROJECTOR_SIZE.search(line)) and self.whose is PartKind.PROJECTOR:
            self.found.append((self.whose, PartKind.WEIGHTS, self.place, match["mib"]))
        elif _CONTEXT.search(line):
            self.contexts += 1
            drafts = self.contexts > 1 or self.whose is PartKind.DRAFT
            self.whose = self.reserves = PartKind.DRAFT if drafts else None
            self.reserved = False

    def buffers(self) -> Iterator[Buffer]:
        for whose, kind, place, mib in self.found:
            yield Buffer(place, whose or kind, round(float(mib) * (1 << 20)))


def learning_key(fingerprint: str, settings: EngineSettings, build: str, device_kinds: Iterable[str]) -> str:
    """16 hex digits that a report may be kept under; whatever changes the allocation changes the key."""
    return digest([fingerprint, asdict(settings), build, list(device_kinds)])


@dataclass(frozen=True, slots=True)
class Report:
    """What one start told: the engine's own buffers, and what its process then held of each device, in the engine's
    order (empty where the driver does not tell)."""

    buffers: tuple[Buffer, ...] = ()
    process_bytes: tuple[int, ...] = ()
    vllm: VllmReport | None = None
    """What vLLM told, whose budget is its footprint; `budget_bytes` of each GPU it had."""
    budget_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """All buffers together, everywhere."""
        return sum(buffer.bytes for buffer in self.buffers)

    def to_json(self) -> dict[str, Any]:
        """As the store keeps it."""
        told = {"vllm": asdict(self.vllm), "budgetBytes": self.budget_bytes} if self.vllm is not None else {}
        return {
            "buffers": [[buffer.place, buffer.kind.value, buffer.bytes] for buffer in self.buffers],
            "processBytes": list(self.process_bytes),
        } | told

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Report:
        """From `to_json`'s form."""
        buffers = tuple(Buffer(place, PartKind(kind), size) for place, kind, size in value["buffers"])
        vllm = VllmReport(**value["vllm"]) if "vllm" in value else None
        return cls(buffers, tuple(value["processBytes"]), vllm, int(value.get("budgetBytes", 0)))


def corrected(estimate: Estimate, report: Report) -> Estimate:
    """The estimate with what an earlier start of the same told, in place of every part that it speaks of."""
    ids = [place.place for place in estimate.devices]
    names = {f"CUDA{index}": device for index, device in enumerate(ids)}
    found = with_report(estimate, report.buffers, names)
    held = zip(ids, report.process_bytes, strict=False)
    return with_process_memory(found, {device: size for device, size in held if size})


def buffer_bytes(estimate: Estimate) -> int:
    """What the estimate says of all that an engine reports as buffers, everywhere together."""
    return sum(part.bytes for place in estimate.places for part in place.parts if part.kind in _REPORTED)


def with_report(estimate: Estimate, buffers: Iterable[Buffer], devices: Mapping[str, str]) -> Estimate:
    """The estimate with every reported kind replaced. `devices` maps the engine's device names to ours.

    What comes along (draft, adapters, projector) lies where it is reported and nowhere else. The output buffer is never
    taken to be less than estimated: what an engine reserves of it at its start grows with drafts that are accepted.
    """
    sums: dict[tuple[str, PartKind], list[int]] = {}
    for buffer in buffers:
        place = HOST if buffer.on_host else devices.get(buffer.place)
        if place is not None:
            sums.setdefault((place, buffer.kind), []).append(buffer.bytes)
    along = {kind for _, kind in sums} & _ALONG
    for memory in estimate.places:
        for kind in along & {part.kind for part in memory.parts}:
            sums.setdefault((memory.place, kind), [])
    for memory in estimate.places:
        if sum(sums.get((memory.place, PartKind.OUTPUT), ())) < memory.of(PartKind.OUTPUT):
            sums.pop((memory.place, PartKind.OUTPUT), None)
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

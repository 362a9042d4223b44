"""Memory as values: what an engine is asked for, what it will take, where, and how sure that is.

`placement` computes an `Estimate`, `runtimes` corrects it by what an engine reports, planning and views print it.
Every number is in bytes. A `Part` carries its basis and the numbers it was made from, so that nothing is a mystery.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

HOST = "host"
"""The place that is no accelerator: the machine's RAM."""


class Basis(StrEnum):
    """How a number is known, best first."""

    EXACT = "exact"
    """Arithmetic over the tensor table and the engine's own allocation rule: equal to the byte."""
    ORACLE = "oracle"
    """The engine computed it without loading the weights."""
    LEARNED = "learned"
    """The engine reported it at an earlier start of the same model with the same settings."""
    FORMULA = "formula"
    """A formula fitted to the engine's reports; its margin covers the errors seen."""
    ASSUMED = "assumed"
    """A default that nothing here has measured."""


class PartKind(StrEnum):
    """What memory is for. The order is the one in which parts are shown."""

    WEIGHTS = "weights"
    KV_CACHE = "kvCache"
    RECURRENT = "recurrent"
    COMPUTE = "compute"
    OUTPUT = "output"
    DRAFT = "draft"
    PROJECTOR = "projector"
    ADAPTERS = "adapters"
    OVERHEAD = "overhead"


@dataclass(frozen=True, slots=True)
class Part:
    """One sum of an estimate. `formula` reads as arithmetic over `inputs`; `margin_bytes` is what may come on top."""

    kind: PartKind
    bytes: int
    basis: Basis
    margin_bytes: int = 0
    formula: str = ""
    inputs: Mapping[str, int | str] | None = None


@dataclass(frozen=True, slots=True)
class PlaceMemory:
    """What one engine takes in one place: `HOST` or a device's id."""

    place: str
    parts: tuple[Part, ...]

    @property
    def total_bytes(self) -> int:
        """What it is expected to take."""
        return sum(part.bytes for part in self.parts)

    @property
    def margin_bytes(self) -> int:
        """How much more it may take."""
        return sum(part.margin_bytes for part in self.parts)

    @property
    def claim_bytes(self) -> int:
        """What placement reserves: the total and its margin."""
        return self.total_bytes + self.margin_bytes

    def of(self, kind: PartKind) -> int:
        """Bytes of one kind; 0 when there is none."""
        return sum(part.bytes for part in self.parts if part.kind is kind)

    def to_json(self) -> dict[str, Any]:
        """`weightsBytes`, `kvCacheBytes`, ... `totalBytes`, `marginBytes`, and `basis` of each."""
        return {
            **{f"{kind}Bytes": self.of(kind) for kind in PartKind},
            "totalBytes": self.total_bytes,
            "marginBytes": self.margin_bytes,
            "basis": {str(kind): str(basis) for kind in PartKind if (basis := _weakest(self.parts, kind)) is not None},
        }


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one replica takes, place by place. `resolved` holds the settings as the engine itself would read them."""

    host: PlaceMemory
    devices: tuple[PlaceMemory, ...] = ()
    resolved: Mapping[str, int | str | bool] | None = None
    notes: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[PlaceMemory, ...]:
        """Devices first, in layer order, then the host."""
        return (*self.devices, self.host)

    @property
    def total_bytes(self) -> int:
        """What it is expected to take, everywhere together."""
        return sum(place.total_bytes for place in self.places)

    @property
    def basis(self) -> Basis:
        """The weakest basis of any part that is not nothing."""
        order = list(Basis)
        return max((p.basis for place in self.places for p in place.parts if p.bytes), key=order.index)

    def to_json(self) -> dict[str, Any]:
        """The total over all places, then each place under `devices` (the host among them, last)."""
        whole = PlaceMemory("total", tuple(part for place in self.places for part in place.parts))
        return {
            **whole.to_json(),
            "devices": [{"device": place.place, **place.to_json()} for place in self.places],
            "settings": dict(self.resolved or {}),
            "notes": list(self.notes),
        }

    def with_parts(self, place: str, parts: Iterable[Part]) -> Estimate:
        """The same with the given kinds replaced in one place (kinds it lacked are added)."""
        fresh = {part.kind: part for part in parts}

        def mend(memory: PlaceMemory) -> PlaceMemory:
            if memory.place != place:
                return memory
            kinds = {part.kind: part for part in memory.parts} | fresh
            return PlaceMemory(place, tuple(kinds[kind] for kind in PartKind if kind in kinds))

        return replace(self, host=mend(self.host), devices=tuple(mend(device) for device in self.devices))


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What llama-server is told that decides memory; None is llama-server's own default."""

    context_size: int = 0
    """Tokens of context for all slots; 0 = the model's training length."""
    parallel: int | None = None
    """Slots; None = auto."""
    kv_unified: bool | None = None
    batch_size: int = 2048
    ubatch_size: int = 512
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    flash_attention: Literal["on", "off", "auto"] = "auto"
    swa_full: bool = False
    kv_offload: bool = True
    gpu_layers: int | None = None
    """Layers on devices, the output layer counted as one; None = all."""
    split_mode: Literal["none", "layer", "row", "tensor"] = "layer"
    tensor_split: tuple[float, ...] = ()
    """Share of each device; empty = by free memory."""
    main_gpu: int = 0
    cpu_experts: int = 0
    """Experts' weights of that many first layers stay on the host (`--n-cpu-moe`)."""
    embeddings: bool = False
    draft_tokens: int = 0
    """Tokens a speculative draft may add to each slot's batch."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A device as the split sees it. `free_bytes` only decides the default split."""

    id: str
    free_bytes: int
    kind: Literal["cuda", "other"] = "cuda"


def _weakest(parts: Iterable[Part], kind: PartKind) -> Basis | None:
    order = list(Basis)
    return max((part.basis for part in parts if part.kind is kind), key=order.index, default=None)

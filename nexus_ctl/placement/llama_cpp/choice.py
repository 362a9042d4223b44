"""Which of several quantizations this machine can serve, and why: `weigh` one, `recommend` among all.

Called by `models show`, `recommend` and `estimate` with one header that was read and the sizes of the other files;
pure and deterministic. A larger file of the same model keeps more of it, so the best is the largest that fits, up to
eight bits a weight: beyond, hardly anything is gained for twice the bytes. A model wholly on GPUs is preferred to a
larger one that is partly beside them. Every claim is the estimate with its margin, and the arithmetic stays with the
answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from nexus_ctl.placement.fit import fit
from nexus_ctl.placement.llama_cpp.shape import read_shape
from nexus_ctl.placement.options import Way, ways, with_layers
from nexus_ctl.resources.device import Device
from nexus_ctl.resources.memory import HOST, Accelerator, Basis, EngineSettings, Estimate, Part, PartKind
from nexus_ctl.resources.placement import Assignment, Decision, Demand, Room
from nexus_ctl.resources.weights import GgufHeader, Tensor

MAX_DEVICES = 8
"""A model is spread over so many devices at most."""
FULL_BITS = 10.0
"""From so many bits a weight on a file counts as unquantized (16 or 32 bits; eight-bit types take 8.5)."""


class Fit(StrEnum):
    """How a model runs here, best first."""

    WHOLE = "whole"
    """All of it on GPUs; on a machine without any, in its RAM."""
    PARTLY = "partly"
    """Some layers on a GPU, the rest in the machine's RAM: slower."""
    ON_HOST = "on-host"
    """In RAM, although there are GPUs: slower still."""
    NOT_NOW = "not-now"
    """The machine could hold it, if what uses its memory now were gone."""
    TOO_LARGE = "too-large"


RUNS = (Fit.WHOLE, Fit.PARTLY, Fit.ON_HOST)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A quantization on offer. `header` is its own, or a relative's with the sizes made to measure (`resized`)."""

    label: str
    file_bytes: int
    header: GgufHeader
    measured_on: str = ""
    """The quantization whose header it is, where that is another one."""


@dataclass(frozen=True, slots=True)
class Short:
    """The place that lacks least for a model to run whole."""

    room: str
    needed_bytes: int
    open_bytes: int

    @property
    def missing_bytes(self) -> int:
        """Bytes that it lacks."""
        return self.needed_bytes - self.open_bytes


@dataclass(frozen=True, slots=True)
class Weighing:
    """One quantization held against this machine.

    `how` it would run and the bytes that this claims, by place: of the fit that it has, else of the one it would need.
    `short` is what keeps it from running whole: now, or for `TOO_LARGE` even with the machine to itself.
    """

    label: str
    file_bytes: int
    fit: Fit
    how: str
    claims: Mapping[str, int]
    estimate: Estimate
    short: Short | None = None
    parameters: int = 0

    @property
    def bits_per_weight(self) -> float:
        """Of the whole file; 0 where the header has no tensors."""
        return 8 * self.file_bytes / self.parameters if self.parameters else 0.0

    @property
    def claim_bytes(self) -> int:
        """What is counted on everywhere, with margins."""
        return sum(self.claims.values())


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The best that runs here, and the next better one that does not run so; either may be missing."""

    best: Weighing | None
    next_better: Weighing | None
    weighed: tuple[Weighing, ...]


def resized(header: GgufHeader, file_bytes: int) -> GgufHeader:
    """A relative's header as if its tensors filled `file_bytes`: each has its share. Raises ValueError without weights.

    Quantizations of one model differ in the sizes of their tensors alone; which tensor got how many bits is not known
    before the file's own header was read.
    """
    data = max(file_bytes - header.data_offset * header.shards, 0)
    if not header.weights_bytes:
        raise ValueError("the header has no tensors")
    tensors = tuple(
        Tensor(one.name, one.dims, one.type, one.size_bytes * data // header.weights_bytes) for one in header.tensors
    )
    return replace(header, tensors=tensors, file_bytes=file_bytes)


def candidate(label: str, file_bytes: int, known: GgufHeader, known_label: str) -> Candidate:
    """A quantization by the header of itself or of a relative."""
    if label == known_label:
        return Candidate(label, file_bytes, known)
    return Candidate(label, file_bytes, resized(known, file_bytes), known_label)


def weigh(one: Candidate, settings: EngineSettings, host: Device, gpus: Sequence[Device] = ()) -> Weighing:
    """Hold a quantization against the machine as it is now. Raises ValueError as `estimate` does."""
    living = [gpu for gpu in gpus if not gpu.lost]
    accelerators = [Accelerator(gpu.id, gpu.free_bytes) for gpu in living]
    now, empty = _rooms((*living, host), taken=True), _rooms((*living, host), taken=False)
    whole = ways(one.header, settings, accelerators, counts=range(1, MAX_DEVICES + 1))
    decision = _decide(whole, now)
    if decision.assignment is not None:
        return _placed(one, Fit.WHOLE, whole, decision, None)
    short = _short(decision)
    if accelerators and settings.gpu_layers is None:
        partly = _most_layers(one, settings, accelerators[0], max(room.open_bytes for room in now if room.id != HOST))
        for how, options in ((Fit.PARTLY, partly), (Fit.ON_HOST, ways(one.header, settings, ()))):
            partial = _decide(options, now)
            if partial.assignment is not None:
                return _placed(one, how, options, partial, short)
    alone = _decide(whole, empty)
    if alone.assignment is not None:
        return _placed(one, Fit.NOT_NOW, whole, alone, short)
    last = min(whole, key=lambda way: way.option.total_bytes)
    claims = {place.place: place.claim_bytes for place in last.estimate.places if place.claim_bytes}
    found = _by_relative(one, last.estimate)
    size, parameters = one.file_bytes, one.header.parameters
    return Weighing(one.label, size, Fit.TOO_LARGE, last.option.label, claims, found, _short(alone), parameters)


def recommend(weighed: Iterable[Weighing]) -> Recommendation:
    """The best of them, and the next larger one that does not run as well.

    By how it runs, then quantized before unquantized, then the largest, then by name.
    """
    ranked = sorted(weighed, key=lambda one: (one.file_bytes, one.label))
    best = min((one for one in ranked if one.fit in RUNS), key=_rank, default=None)
    if best is None:
        return Recommendation(None, ranked[0] if ranked else None, tuple(ranked))
    better = (one for one in ranked if one.file_bytes > best.file_bytes and _order(one.fit) > _order(best.fit))
    return Recommendation(best, next(better, None), tuple(ranked))


def _rank(one: Weighing) -> tuple[int, bool, int, str]:
    return _order(one.fit), one.bits_per_weight >= FULL_BITS, -one.file_bytes, one.label


def _order(fit: Fit) -> int:
    return list(Fit).index(fit)


def _rooms(devices: Iterable[Device], *, taken: bool) -> tuple[Room, ...]:
    return tuple(
        Room(
            device.id,
            device.total_bytes,
            device.total_bytes,
            max(device.total_bytes - device.free_bytes, device.reserved_bytes) if taken else device.reserved_bytes,
        )
        for device in devices
    )


def _most_layers(one: Candidate, settings: EngineSettings, device: Accelerator, open_bytes: int) -> tuple[Way, ...]:
    """With as many layers as the emptiest GPU has room for; none when not even one. More layers claim more."""
    low, high = 0, len(read_shape(one.header).layers)
    while low < high:
        middle = (low + high + 1) // 2
        fits = with_layers(one.header, settings, device, middle).option.claims[0] <= open_bytes
        low, high = (middle, high) if fits else (low, middle - 1)
    return (with_layers(one.header, settings, device, low),) if low else ()


def _decide(options: Sequence[Way], rooms: Sequence[Room]) -> Decision:
    return fit([Demand("it", tuple(way.option for way in options))], rooms).decisions[0]


def _placed(one: Candidate, how: Fit, options: Sequence[Way], decision: Decision, short: Short | None) -> Weighing:
    taken = decision.assignment
    assert taken is not None
    way = next(way for way in options if way.option.label == taken.option)
    found = _by_relative(one, _at(way, taken))
    size, parameters = one.file_bytes, one.header.parameters
    return Weighing(one.label, size, how, taken.option, taken.claims, found, short, parameters)


def _at(way: Way, taken: Assignment) -> Estimate:
    """The estimate with its devices named as they were chosen: `fit` gives the largest claim its place first."""
    by_claim = sorted(range(len(way.option.claims)), key=lambda place: -way.option.claims[place])
    names = dict(zip(by_claim, (room for room in taken.claims if room != HOST), strict=True))
    devices = tuple(replace(memory, place=names[place]) for place, memory in enumerate(way.estimate.devices))
    return replace(way.estimate, devices=devices)


def _short(decision: Decision) -> Short | None:
    lacking = [one for one in decision.weighed if one.missing_bytes]
    least = min(lacking, key=lambda one: (one.missing_bytes, one.room == HOST, one.room), default=None)
    return Short(least.room, least.needed_bytes, least.open_bytes) if least is not None else None


def _by_relative(one: Candidate, found: Estimate) -> Estimate:
    """Their sum is the file's size; how it is spread, and how much of it is no weight, is the relative's."""
    if not one.measured_on:
        return found
    words = f"size of the file, spread as in {one.measured_on}"
    for place in found.places:
        size = place.of(PartKind.WEIGHTS)
        if size:
            found = found.with_parts(place.place, [Part(PartKind.WEIGHTS, size, Basis.FORMULA, 0, words)])
    return found

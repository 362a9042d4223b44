"""What a replica will take and where, as a plan tells it: the lines, and the refusal of what cannot fit.

Pure. The rule: every figure has its unit and its place, and every refusal ends with what would make it fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nexus_ctl.placement.llama_cpp.declared import settings_of
from nexus_ctl.placement.llama_cpp.estimate import largest_context
from nexus_ctl.placement.options import ways
from nexus_ctl.planning.change import Reason
from nexus_ctl.planning.machine import Machine, holding_words
from nexus_ctl.planning.running_vllm import smaller_share
from nexus_ctl.planning.seats import Seat, Seated
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.memory import HOST, Accelerator, Estimate, PartKind, PlaceMemory
from nexus_ctl.resources.placement import Decision, RemedyKind, Verdict, Weighed
from nexus_ctl.resources.weights import GgufHeader

SHOWN = {
    PartKind.WEIGHTS: "weights",
    PartKind.KV_CACHE: "KV cache",
    PartKind.COMPUTE: "compute",
    PartKind.DRAFT: "draft model",
    PartKind.ADAPTERS: "adapters",
    PartKind.PROJECTOR: "projector",
}
"""The parts a line names; the rest is told as overhead."""


def memory_line(found: Estimate, replicas: int = 1) -> str:
    """`memory: 201.9 MiB on the host (weights 92.1 MiB, KV cache 45.0 MiB, compute 16.6 MiB, overhead 48.2 MiB)`."""
    word = "memory of each replica" if replicas > 1 else "memory"
    return "; ".join(f"{word}: {_place(place)}" for place in found.places if place.total_bytes)


def tight_limit(limit_bytes: int | None, claim_bytes: int) -> tuple[str, ...]:
    """The warning that a replica will be ended for want of memory under its own limit; none where it will not."""
    if limit_bytes is None or limit_bytes >= claim_bytes:
        return ()
    line = (
        f"warning: spec.resources.memory: {human_bytes(limit_bytes)} is less than the {human_bytes(claim_bytes)} that "
        f"a replica holds beside its mapped weights; give it {-(-claim_bytes // 2**20)}Mi, or a smaller context"
    )
    return (line,)


def device_lines(seat: Seat, machine: Machine, before: Mapping[int, str]) -> Iterator[str]:
    """For each replica that comes to lie on devices: each device before and after, and why that one.

    `before` names the replica that each index exchanges.
    """
    for index, one in sorted(seat.seated.items()):
        if not one.placed.devices:
            continue
        word = f"replica {index}: " if len(seat.seated) > 1 else ""
        gone = machine.held_by(before.get(index, ""))
        parts = {place.place: place for place in one.run.estimate.places}
        told = dict(zip(one.placed.devices, one.run.estimate.devices, strict=False))
        for device in machine.gpus.devices.devices:
            if device.id in one.placed.devices:
                used = machine.used(device)
                after = max(0, used - gone.get(device.id, 0)) + one.placed.claims[device.id]
                made_of = _made_of(told[device.id], one.placed.claims[device.id]) if device.id in told else ""
                yield (
                    f"{word}{device.short_name} {human_bytes(device.total_bytes)}: "
                    f"{human_bytes(used)} used -> {human_bytes(after)}{made_of}"
                )
        if HOST in parts and parts[HOST].total_bytes:
            yield f"{word}{memory_line(Estimate(parts[HOST]))}"
        yield f"{word}{one.run.option.label}: {'; '.join(_weighed(w, machine) for w in _on_devices(one))}"
        yield from (f"{word}{line}" for line in one.run.told)


def _on_devices(one: Seated) -> list[Weighed]:
    """The devices that were weighed, those chosen first."""
    found = [w for w in one.decision.weighed if w.room != HOST]
    return sorted(found, key=lambda w: w.room not in one.placed.devices)


def _weighed(one: Weighed, machine: Machine) -> str:
    name = machine.name_of(one.room)
    match one.verdict:
        case Verdict.CHOSEN:
            return f"{name} chosen, {human_bytes(one.open_bytes)} open"
        case Verdict.FITS:
            return f"{name} would do, {human_bytes(one.open_bytes)} open"
        case Verdict.SHORT:
            return f"{name} has {human_bytes(one.open_bytes)} open, {human_bytes(one.missing_bytes)} missing"
        case _:
            return f"{name} {one.verdict.value}"


def _held(one: Weighed, machine: Machine) -> list[str]:
    """Who else holds memory of a place that is short."""
    devices = [d for d in machine.gpus.devices.devices if d.id == one.room and one.verdict is Verdict.SHORT]
    return [f"  {holding_words(holder)}" for device in devices for holder in machine.holders_of(device)]


def _place(place: PlaceMemory) -> str:
    where = "on the host" if place.place == HOST else f"on {place.place}"
    return f"{human_bytes(place.total_bytes)} {where}{_made_of(place, place.total_bytes)}"


def _made_of(place: PlaceMemory, claim_bytes: int) -> str:
    """` (weights 4.7 GiB, KV cache 1.2 GiB, ...)`; "" where nothing is known of the parts."""
    named = {word: place.of(kind) for kind, word in SHOWN.items()}
    named["overhead"] = place.total_bytes - sum(named.values())
    named["margin"] = claim_bytes - place.total_bytes
    parts = ", ".join(f"{word} {human_bytes(count)}" for word, count in named.items() if count > 0)
    return f" ({parts})" if parts else ""


def stop_first_reason(why: Decision, machine: Machine) -> Reason:
    """Why the new one cannot stand beside the old one, with the figures."""
    short = next((w for w in _by_need(why) if w.verdict is Verdict.SHORT), None)
    if short is None:
        return Reason("insufficient_gpu", detail="; ".join(_remedies(why, machine)))
    if short.room == HOST:
        detail = (
            f"a second replica needs {human_bytes(short.needed_bytes)}, {human_bytes(short.open_bytes)} are free "
            "while the old one runs"
        )
        return Reason("insufficient_memory", detail=detail)
    detail = (
        f"{machine.name_of(short.room)}: needs {human_bytes(short.needed_bytes)}, {human_bytes(short.open_bytes)} open "
        "while the old one runs"
    )
    return Reason("insufficient_gpu", detail=detail)


def refusal(
    spec: DeploymentSpec,
    header: GgufHeader | None,
    why: Decision,
    machine: Machine,
    checkpoint: Checkpoint | None = None,
) -> Reason:
    """Why a replica cannot be made: the arithmetic of each place, and what would make it fit."""
    open_bytes = {w.room: w.open_bytes for w in why.weighed}
    hints = list(_hints(spec, header, open_bytes))
    declared = spec.resources.gpus is not None and spec.resources.gpus.memory is not None
    if spec.engine.vllm is not None and checkpoint is not None and not declared:
        share = smaller_share(spec.engine.vllm, checkpoint, machine.gpus.devices.devices, open_bytes)
        hints += [f"memoryUtilization {share:.2f} would do"] if share else []
    if spec.resources.gpus is None:
        (host,) = (w for w in why.weighed if w.room == HOST) if open_bytes else (None,)
        if host is None:
            return Reason("insufficient_memory", "spec.resources", detail="; ".join(_remedies(why, machine)))
        detail = (
            f"needs {human_bytes(host.needed_bytes)} beside the mapped weights, {human_bytes(host.open_bytes)} are free"
        )
        return Reason("insufficient_memory", "spec.engine.llamaCpp.contextSize", detail="; ".join([detail, *hints]))
    weighed = [w for w in _by_need(why) if (w.room, w.verdict) != (HOST, Verdict.FITS)]
    rows = [line for w in weighed for line in (_weighed(w, machine), *_held(w, machine))]
    needs = max((w.needed_bytes for w in why.weighed if w.room != HOST), default=0)
    first = f"needs {human_bytes(needs)} on a GPU" if needs else "no GPU can be had"
    out = [*_remedies(why, machine), *hints]
    last = [f"way out: {'; '.join(out)}"] if out else []
    return Reason("insufficient_gpu", "spec.resources.gpus", detail="\n".join([first, *rows, *last]))


def _by_need(why: Decision) -> list[Weighed]:
    """The nearest miss first."""
    return sorted(why.weighed, key=lambda w: (w.missing_bytes, w.room))


def _remedies(why: Decision, machine: Machine) -> list[str]:
    return [
        one.kind.value.format(room=machine.name_of(one.room), size=human_bytes(one.bytes))
        for one in why.remedies
        if one.kind is not RemedyKind.FREE or one.bytes
    ]


def _hints(spec: DeploymentSpec, header: GgufHeader | None, open_bytes: Mapping[str, int]) -> Iterator[str]:
    """Settings of the manifest that would fit into what is open now. Only llama.cpp has formulae for that."""
    engine, gpus = spec.engine.llama_cpp, spec.resources.gpus
    if engine is None or header is None or (gpus is not None and gpus.memory is not None):
        return
    settings = settings_of(engine)
    if gpus is None:
        weights = ways(header, settings, ())[0].estimate.host.of(PartKind.WEIGHTS)
        context = largest_context(header, settings, {HOST: open_bytes.get(HOST, 0) + weights})
        yield f"contextSize {context} would fit" if context else "no context would fit"
        return
    free = sorted((size for room, size in open_bytes.items() if room != HOST), reverse=True)
    devices = [Accelerator(f"d{place}", size) for place, size in enumerate(free)]
    if not devices:
        return
    context = largest_context(header, settings, {"d0": free[0]}, devices[:1])
    if context:
        yield f"contextSize {context} would fit on one"
    counts = range(2, len(devices) + 1)
    for way in ways(header, settings, devices, counts=counts, partial=not spec.placement.partial_offload):
        fits = all(c <= f for c, f in zip(sorted(way.option.claims, reverse=True), free, strict=False))
        if fits and len(way.option.claims) > 1:
            yield f"gpus.count {len(way.option.claims)} would fit"
            return
        if fits:
            yield f"placement.partialOffload would fit {way.option.label}"
            return

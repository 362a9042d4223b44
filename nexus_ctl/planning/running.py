"""The ways a Deployment's replica can run on this machine, each with the bytes it claims and the spec it is then
launched with: what is placed is what the engine is told.

Called before seats are decided (`planning/seats.py`). Pure. The rule: a claim is never without a basis; where nothing
is known of an engine, a share of the model's size is assumed, and said to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from nexus_ctl.engines.llama_cpp_companions import companions
from nexus_ctl.engines.llama_cpp_fields import PATH
from nexus_ctl.placement.llama_cpp.companions import Beside
from nexus_ctl.placement.llama_cpp.declared import draft_settings, settings_of
from nexus_ctl.placement.llama_cpp.estimate import DEVICE_OVERHEAD_BYTES
from nexus_ctl.placement.llama_cpp.report import Report, corrected, learning_key
from nexus_ctl.placement.options import Way, ways
from nexus_ctl.placement.vllm.budget import DEFAULT_UTILISATION
from nexus_ctl.planning.running_vllm import LONGER, start_of
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.container import Gpus
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.device import Device
from nexus_ctl.resources.llama_cpp import Gpu, LlamaCpp
from nexus_ctl.resources.memory import (
    HOST,
    Accelerator,
    Basis,
    EngineSettings,
    Estimate,
    Part,
    PartKind,
    PlaceMemory,
)
from nexus_ctl.resources.normal import canonical_json
from nexus_ctl.resources.placement import Option
from nexus_ctl.resources.vllm import Vllm
from nexus_ctl.resources.weights import GgufHeader

ASSUMED_SHARE = 0.2
"""Of the model's size, on top of it, for an engine without a formula. A first guess."""
ON_HOST = "on the host"
VERBOSITY = 4
"""llama-server's level at which it tells the size of every buffer."""
LOG_FLAGS = frozenset({"log-verbosity", "verbose", "log-disable"})


@dataclass(frozen=True, slots=True)
class Run:
    """One way to run. `option` claims what is the replica's own: mapped weights on the host can be read again from
    the file, so they are in `host_bytes` only, which is what a second replica beside the first should find free."""

    option: Option
    spec: DeploymentSpec
    estimate: Estimate
    host_bytes: int
    key: str = ""
    """What the engine's report of memory is kept under; "" where it reports none."""
    short: str = ""
    """Why it would not start though its claim finds room; "" where nothing says so."""
    short_at: str = ""
    """The field of the manifest that this speaks of."""
    told: tuple[str, ...] = ()
    """What else there is to say of it, each a line."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What earlier starts told. `identity` is what decides a start's memory beside its settings: the bytes of all files
    and how those beside the model are loaded, and the engine's build; `reports` are those of this install, as the
    store keeps them."""

    identity: tuple[str, str] = ("", "")
    reports: Mapping[str, Any] = field(default_factory=dict)

    def key(self, settings: EngineSettings, devices: Sequence[Device]) -> str:
        """What a start with these settings is kept under; "" where model or build is unknown."""
        model, build = self.identity
        kinds = sorted({device.name for device in devices})
        return learning_key(model, settings, build, kinds) if model and build else ""


def runs(
    spec: DeploymentSpec,
    header: GgufHeader | None,
    size_bytes: int | None,
    devices: Sequence[Device],
    learned: Learned = Learned(),
    *,
    files: Mapping[str, GgufHeader] = MappingProxyType({}),
    checkpoint: Checkpoint | None = None,
) -> tuple[Run, ...]:
    """In order of preference. Empty where nothing can be said: the size is unknown, or GPUs are asked for and none is
    seen. `devices` are those it may use (`candidates`), in order; `files` the headers of what comes along, by the
    path of the reference; `checkpoint` what vLLM loads."""
    engine, gpus = spec.engine.llama_cpp, spec.resources.gpus
    if gpus is not None and not devices:
        return ()
    usable = [Accelerator(device.id, device.free_bytes) for device in devices] if gpus is not None else []
    if gpus is not None and (gpus.memory is not None or engine is None or header is None):
        return _claimed(spec, gpus, size_bytes, devices, learned, checkpoint=checkpoint)
    if engine is None or header is None:
        return _assumed_on_host(spec, size_bytes)
    counts = counts_of(gpus, len(devices)) if gpus is not None else ()
    try:
        settings, partial, along = settings_of(engine), spec.placement.partial_offload, _beside(engine, files)
        found = ways(header, settings, usable, counts=counts, partial=partial, beside=along)
    except ValueError:
        return (
            _claimed(spec, gpus, size_bytes, devices, learned, checkpoint=checkpoint)
            if gpus is not None
            else _assumed_on_host(spec, size_bytes)
        )
    return tuple(_run(spec, way, learned.key(way.settings, devices if gpus else ()), learned) for way in found)


def _beside(engine: LlamaCpp, files: Mapping[str, GgufHeader]) -> Beside:
    by_role: dict[str, list[GgufHeader]] = {"draft": [], "adapter": [], "projector": []}
    for one in companions(engine):
        by_role[one.role] += [files[path]] if (path := f"{PATH}.{one.path}.model") in files else []
    draft, projector = engine.draft, engine.projector
    return Beside(
        draft=next(iter(by_role["draft"]), None),
        draft_settings=lambda target: draft_settings(draft, target) if draft is not None else target,
        adapters=tuple(by_role["adapter"]),
        projector=next(iter(by_role["projector"]), None),
        offloads_projector=projector is None or projector.offload,
    )


def beside_key(spec: DeploymentSpec) -> str:
    """What decides the memory of the files beside the model, and which file of a Model is meant; "" where nothing is
    declared. Which Models those are is in no key: their bytes are."""
    engine = spec.engine.llama_cpp
    if engine is None:
        return ""
    draft, projector = engine.draft, engine.projector
    told = {
        "file": engine.file,
        "draft": draft.model_dump(mode="json", exclude={"model"}, exclude_defaults=True) if draft else None,
        "adapters": [one.file for one in engine.adapters] or None,
        "projector": projector.model_dump(mode="json", exclude={"model"}, exclude_defaults=True) if projector else None,
    }
    given = {name: value for name, value in told.items() if value is not None}
    return canonical_json(given) if given else ""


def candidates(gpus: Gpus | None, devices: Sequence[Device]) -> tuple[Device, ...]:
    """The devices a replica may use, those named in `ids` in their order; lost ones are none."""
    alive = [device for device in devices if not device.lost]
    if gpus is None or gpus.ids is None:
        return tuple(alive)
    named = {name: device for device in alive for name in (str(device.index), device.id)}
    tails = (name.rpartition("=")[2] for name in gpus.ids)
    return tuple(named[tail] for tail in tails if tail in named)


def counts_of(gpus: Gpus, here: int) -> tuple[int, ...]:
    """How many devices to try, in turn."""
    if gpus.ids is not None:
        return (len(gpus.ids),)
    if gpus.count == "auto":
        return tuple(range(1, here + 1))
    return (here if gpus.count == "all" else gpus.count or 0,)


def as_launched(run: Run, ids: Sequence[str], totals: Mapping[str, int]) -> DeploymentSpec:
    """The spec that is launched on the devices `ids`, in the engine's order. `totals` are their sizes in bytes."""
    gpus = run.spec.resources.gpus
    if gpus is None or not ids:
        return run.spec
    asked = list(gpus.ids) if gpus.ids is not None else list(ids)
    chosen = Gpus(ids=asked, capabilities=gpus.capabilities)
    spec = run.spec.model_copy(update={"resources": run.spec.resources.model_copy(update={"gpus": chosen})})
    engine = spec.engine.vllm
    if engine is None or engine.cache.memory_utilization is not None:
        return spec
    share = min(claim / totals[device] for device, claim in zip(ids, run.option.claims, strict=True))
    cache = engine.cache.model_copy(update={"memory_utilization": int(share * 1000) / 1000})
    vllm = engine.model_copy(update={"cache": cache})
    return spec.model_copy(update={"engine": spec.engine.model_copy(update={"vllm": vllm})})


def _run(spec: DeploymentSpec, way: Way, key: str, learned: Learned) -> Run:
    known = key in learned.reports
    memory = corrected(way.estimate, Report.from_json(learned.reports[key])) if known else way.estimate
    claims = tuple(place.claim_bytes for place in memory.devices)
    gpus = spec.resources.gpus
    if gpus is not None and gpus.ids is not None and claims:
        claims = (max(claims),) * len(claims)  # the person's order stays, wherever each part comes to lie
    host = memory.host.claim_bytes
    private = max(host - memory.host.of(PartKind.WEIGHTS), 0)
    told = _told(spec, way.settings) if claims else spec
    option = Option(way.option.label, claims, private)
    return Run(option, _talkative(told) if key and not known else told, memory, host, key)


def _talkative(spec: DeploymentSpec) -> DeploymentSpec:
    """At its first start an engine is to say what it allocates; how much it logs is in no hash, so it stays so."""
    engine = spec.engine.llama_cpp
    if engine is None or engine.verbosity is not None or LOG_FLAGS & engine.args.keys():
        return spec
    told = engine.model_copy(update={"verbosity": VERBOSITY})
    return spec.model_copy(update={"engine": spec.engine.model_copy(update={"llama_cpp": told})})


def _told(spec: DeploymentSpec, settings: EngineSettings) -> DeploymentSpec:
    """The split in the fields that become flags, and the engine's own fitting off."""
    engine = spec.engine.llama_cpp
    assert engine is not None
    gpu = Gpu.model_validate(
        engine.gpu.model_dump()
        | {
            "layers": "all" if settings.gpu_layers is None else settings.gpu_layers,
            "split_mode": settings.split_mode,
            "tensor_split": list(settings.tensor_split) or None,
            "main_gpu": settings.main_gpu if settings.split_mode == "none" else None,
        }
    )
    args = {"fit": "off"} | engine.args
    told = engine.model_copy(update={"gpu": gpu, "args": args})
    return spec.model_copy(update={"engine": spec.engine.model_copy(update={"llama_cpp": told})})


def _claimed(
    spec: DeploymentSpec,
    gpus: Gpus,
    size_bytes: int | None,
    devices: Sequence[Device],
    learned: Learned,
    *,
    checkpoint: Checkpoint | None,
) -> tuple[Run, ...]:
    """Claims that no header gives: declared, vLLM's budget, or a guess by the model's size."""
    found = []
    for count in counts_of(gpus, len(devices)):
        share = _share(spec, gpus, size_bytes, devices, count)
        if share is None:
            return ()
        size, basis, formula = share
        part = Part(PartKind.OVERHEAD, size, basis, 0, formula)
        places = tuple(PlaceMemory(device.id, (part,)) for device in devices[:count])
        label = "whole" if count == 1 else f"over {count} devices"
        memory = Estimate(PlaceMemory(HOST, ()), places)
        run = Run(Option(label, (size,) * count), spec, memory, spec.resources.memory or 0)
        found.append(_with_vllm(run, spec.engine.vllm, devices[:count], learned, checkpoint))
    return tuple(found)


def _with_vllm(
    run: Run, engine: Vllm | None, devices: Sequence[Device], learned: Learned, checkpoint: Checkpoint | None
) -> Run:
    """The same with what is known of the start, where it is one of vLLM."""
    if engine is None:
        return run
    budget = run.option.claims[0]
    start = start_of(
        engine,
        budget,
        devices,
        identity=learned.identity,
        reports=learned.reports,
        checkpoint=checkpoint,
        longer=LONGER in run.spec.env,
    )
    return replace(
        run,
        estimate=start.estimate or run.estimate,
        key=start.key,
        short=start.short,
        short_at=start.short_at,
        told=start.told,
    )


def _share(
    spec: DeploymentSpec, gpus: Gpus, size_bytes: int | None, devices: Sequence[Device], count: int
) -> tuple[int, Basis, str] | None:
    """Bytes of one of `count` devices, how they are known, and from what."""
    if gpus.memory is not None:
        return gpus.memory, Basis.EXACT, "declared by resources.gpus.memory"
    if spec.engine.vllm is not None:
        given = spec.engine.vllm.cache.memory_utilization
        sizes = [device.total_bytes for device in devices]
        total = min(sizes) if given is None else max(sizes)
        return int(total * (given or DEFAULT_UTILISATION)), Basis.EXACT, "the budget that vLLM is given"
    if size_bytes is None:
        return None
    size = int(size_bytes * (1 + ASSUMED_SHARE)) // count + DEVICE_OVERHEAD_BYTES
    return size, Basis.ASSUMED, f"size of the model and {ASSUMED_SHARE:.0%} over {count} device(s)"


def _assumed_on_host(spec: DeploymentSpec, size_bytes: int | None) -> tuple[Run, ...]:
    if size_bytes is None:
        return ()
    private = spec.resources.memory or 0
    part = Part(PartKind.OVERHEAD, private, Basis.ASSUMED, 0, "resources.memory")
    memory = Estimate(PlaceMemory(HOST, (part,)))
    return (Run(Option(ON_HOST, (), private), spec, memory, size_bytes + private),)

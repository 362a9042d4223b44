"""What is known of a start of vLLM within its budget, before it is made: what the budget is spent on, whether one
sequence of full length finds room, and under which key its log will be kept.

Called by `running`. Pure. An earlier start of the same outweighs the closed form; without a tensor table and without an
earlier start the budget alone is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nexus_ctl.placement.llama_cpp.report import Report
from nexus_ctl.placement.vllm.budget import fit_vllm, need_of
from nexus_ctl.placement.vllm.report import short_of
from nexus_ctl.placement.vllm.settings import settings_of
from nexus_ctl.placement.vllm.shape import from_config
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.device import Device
from nexus_ctl.resources.memory import Estimate
from nexus_ctl.resources.normal import digest
from nexus_ctl.resources.vllm import Vllm

PATH = "spec.engine.vllm"
LENGTH, TENSOR = f"{PATH}.model.maxLength", f"{PATH}.parallel.tensor"
LONGER = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"


@dataclass(frozen=True, slots=True)
class Start:
    """`short` says why it would end, of the field `short_at`; `told` what else there is to say, each a line."""

    key: str = ""
    estimate: Estimate | None = None
    short: str = ""
    short_at: str = LENGTH
    told: tuple[str, ...] = ()


def start_of(
    engine: Vllm,
    budget: int,
    devices: Sequence[Device],
    *,
    identity: tuple[str, str],
    reports: Mapping[str, Any],
    checkpoint: Checkpoint | None,
    longer: bool,
) -> Start:
    """What is known of a start on `devices`, with `budget` bytes of each. `longer`: its environment lets the context be
    longer than the model's own."""
    key = _key(engine, devices, identity)
    report = Report.from_json(reports[key]) if key in reports else Report()
    told = report.vllm
    if told is not None and told.cache and told.tokens and (engine.model.max_length or told.context):
        return Start(key, short=short_of(told, report.budget_bytes, budget, engine.model.max_length))
    if checkpoint is None or not devices:
        return Start(key)
    return replace(_by_table(engine, budget, devices, checkpoint, longer=longer), key=key)


def _by_table(engine: Vllm, budget: int, devices: Sequence[Device], checkpoint: Checkpoint, *, longer: bool) -> Start:
    try:
        smallest = min(devices, key=lambda one: one.total_bytes)
        settings = settings_of(engine, smallest.name, smallest.total_bytes)
        shape = from_config(checkpoint.config)
    except ValueError as error:
        return Start(told=(f"whether the KV cache finds room is not known: {error}",))
    if shape.heads % settings.tensor_parallel:
        why = f"vLLM would not start: tensor {settings.tensor_parallel} does not divide the {shape.heads} heads"
        return Start(short=why, short_at=TENSOR)
    found = fit_vllm(checkpoint, shape, settings, budget, [(one.id, one.total_bytes) for one in devices])
    if settings.max_model_len > shape.context and not longer:
        why = f"vLLM would not start: the model knows {shape.context} tokens, not {settings.max_model_len}"
        return Start(estimate=found.estimate, short=f"{why}; maxLength {shape.context}, or env.{LONGER}")
    if found.refused:
        return Start(estimate=found.estimate, short=found.refused)
    lines = (
        found.told,
        *(found.estimate.notes if found.told else ()),
        f"warning: {found.doubt}" if found.doubt else "",
    )
    return Start(estimate=found.estimate, told=tuple(line for line in lines if line))


def smaller_share(
    engine: Vllm, checkpoint: Checkpoint, devices: Sequence[Device], open_bytes: Mapping[str, int]
) -> float:
    """The largest share that is open now on as many GPUs as are needed, in hundredths, where one sequence of full
    length is served in it at the worst of the guesses; 0 where it is not, or nothing is known."""
    here = [one for one in devices if open_bytes.get(one.id)]
    count = (engine.parallel.tensor or 1) * (engine.parallel.pipeline or 1)
    chosen = sorted(here, key=lambda one: -open_bytes[one.id] / one.total_bytes)[:count]
    if len(chosen) < count:
        return 0.0
    share = int(min(open_bytes[one.id] / one.total_bytes for one in chosen) * 100) / 100
    smallest = min(chosen, key=lambda one: one.total_bytes)
    try:
        settings = settings_of(engine, smallest.name, smallest.total_bytes)
        need = need_of(checkpoint, from_config(checkpoint.config), settings)
    except ValueError:
        return 0.0
    return share if need.total + need.margin <= int(smallest.total_bytes * share) else 0.0


def _key(engine: Vllm, devices: Sequence[Device], identity: tuple[str, str]) -> str:
    """What its log is kept under; "" where files or build are unknown. Neither the budget nor the context's length is
    in the key: what is not cache is the same with any."""
    files, build = identity
    if not files or not build:
        return ""
    told = engine.model_dump(mode="json", exclude={"server", "image"}, exclude_defaults=True)
    told.get("cache", {}).pop("memory_utilization", None)
    told.get("model", {}).pop("max_length", None)
    return digest([files, {name: value for name, value in told.items() if value}, build, [one.name for one in devices]])

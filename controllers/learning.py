"""Learning: what ready engines said they took, kept for the next estimate of the same.

Called by the cycle after it acted and looked again. Reads a replica's first log lines, once per model, settings, build
and kind of device: a report that is known, or a replica whose label asks for none, costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from controllers.looking import Look
from nexus_ctl.errors import ActionError
from nexus_ctl.execution.world import World
from nexus_ctl.placement.llama_cpp.report import Report, parse_buffers
from nexus_ctl.placement.vllm.report import VllmReport, parse_report
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.observed import ObservedDeployment
from nexus_ctl.resources.placed import Placed
from nexus_ctl.resources.replica import Health

MIB = 1 << 20
LINES = 4000
"""Of a replica's log, from its start: an engine tells its buffers while it loads, in some hundred lines."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One start's report, and what was expected of it."""

    ref: Ref
    generation: int
    placed: Placed
    report: Report

    @property
    def message(self) -> str:
        """`reported 119.2 MiB in its buffers; 119.3 MiB were estimated (+0.1 %)`"""
        if self.report.vllm is not None:
            return _told_by_vllm(self.report.vllm)
        told, expected = self.report.total_bytes, self.placed.expected_bytes
        error = f" ({expected / told - 1:+.1%})" if told else ""
        return f"reported {told / MIB:.1f} MiB in its buffers; {expected / MIB:.1f} MiB were estimated{error}"


def lessons(world: World, seen: Look) -> Iterator[Lesson]:
    """What the ready replicas tell that is not known yet."""
    known = set(seen.scene.reports)
    for ref, observed in sorted(seen.observed.items()):
        if not isinstance(observed, ObservedDeployment):
            continue
        for view in observed.replicas:
            placed = seen.scene.machine.placed.get(view.replica.name)
            if view.health is Health.READY and placed is not None and placed.key and placed.key not in known:
                known.add(placed.key)
                generation = view.replica.owner.generation if view.replica.owner is not None else 0
                yield Lesson(ref, generation, placed, _report(world, seen, view.replica.name, placed))


def _report(world: World, seen: Look, name: str, placed: Placed) -> Report:
    """Empty buffers where the log tells none: that too is known then, and not asked again."""
    try:
        log = list(islice(world.runtime.logs(name), LINES))
    except ActionError:
        log = []
    ours, vllm = seen.scene.machine.gpus.ours, parse_report(log)
    held = tuple(ours.get(device, {}).get(name, 0) for device in placed.devices)
    if vllm.cache is None:
        return Report(parse_buffers(log), held)
    return Report((), held, vllm, min((placed.claims[device] for device in placed.devices), default=0))


def _told_by_vllm(told: VllmReport) -> str:
    """`left 50.20 GiB of its budget to the cache, 410,000 tokens: 50.0 sequences of 8,192`"""
    many = f": {told.tokens / told.context:.1f} sequences of {told.context:,}" if told.tokens and told.context else ""
    tokens = f", {told.tokens:,} tokens{many}" if told.tokens else ""
    return f"left {(told.cache or 0) / (1 << 30):.2f} GiB of its budget to the cache{tokens}"

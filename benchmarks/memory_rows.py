"""What `benchmarks.memory` compares: rows of estimate and truth, and the tables that are made of them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from nexus_ctl.placement.llama_cpp.report import Buffer
from nexus_ctl.resources.memory import EngineSettings, PartKind, PlaceMemory

PARTS = tuple(kind for kind in PartKind if kind is not PartKind.OVERHEAD)
"""All that an engine reports."""


@dataclass(frozen=True)
class Row:
    """One comparison, in bytes; `truth` holds only the parts that the engine reported apart from one another."""

    model: str
    settings: EngineSettings
    expected: PlaceMemory
    truth: dict[PartKind, int]
    overhead: int = 0

    @property
    def total_error(self) -> float:
        """Relative error of all parts together."""
        return self.error(tuple(self.truth))

    def error(self, kinds: tuple[PartKind, ...]) -> float:
        """Relative error of some parts together."""
        truth = sum(self.truth[kind] for kind in kinds)
        return (sum(self.expected.of(kind) for kind in kinds) - truth) / truth

    @property
    def beyond_margin(self) -> int:
        """Bytes by which the truth exceeds estimate and margin; at most 0 when the margin holds."""
        kinds = tuple(self.truth)
        claim = sum(part.bytes + part.margin_bytes for part in self.expected.parts if part.kind in kinds)
        return sum(self.truth.values()) - claim


def sums(buffers: tuple[Buffer, ...]) -> dict[PartKind, int]:
    """Bytes by kind of one report."""
    return {
        kind: sum(buffer.bytes for buffer in buffers if buffer.kind is kind)
        for kind in PARTS
        if any(buffer.kind is kind for buffer in buffers)
    }


def table(title: str, rows: list[Row]) -> list[str]:
    """A Markdown table of one sample: a row per part, then the total."""
    lines = ["", f"## {title}", "", "| part | rows | median | p95 | max | lowest | highest |", "| --- " * 7 + "|"]
    for kind in PARTS:
        errors = [row.error((kind,)) for row in rows if row.truth.get(kind)]
        if errors:
            lines.append(f"| {kind} " + figures(errors))
    lines.append("| **total** " + figures([row.total_error for row in rows]))
    beyond = max(row.beyond_margin for row in rows)
    lines += ["", f"Largest excess of the truth over estimate and margin: {beyond:,} bytes."]
    lines += ["", "| model | rows | total: median | p95 | max | lowest | highest |", "| --- " * 7 + "|"]
    for model in dict.fromkeys(row.model for row in rows):
        lines.append(f"| {model} " + figures([row.total_error for row in rows if row.model == model]))
    return lines


def figures(errors: list[float]) -> str:
    """Count, then median, 95th percentile and maximum of the absolute error, then both ends."""
    sizes = sorted(abs(error) for error in errors)
    p95 = sizes[min(len(sizes) - 1, int(0.95 * len(sizes)))]
    cells = (statistics.median(sizes), p95, sizes[-1])
    ends = (min(errors), max(errors))
    return (
        f"| {len(errors)} | "
        + " | ".join(f"{100 * cell:.3f} %" for cell in cells)
        + " | "
        + " | ".join(f"{100 * end:+.3f} %" for end in ends)
        + " |"
    )

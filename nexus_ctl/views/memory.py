"""A memory estimate → a table, place by place, with how each number is known. The JSON is the value's own."""

from __future__ import annotations

from collections.abc import Iterator

from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.memory import Estimate, PlaceMemory
from nexus_ctl.views.table import table

HEADERS = ("PLACE", "PART", "BYTES", "SIZE", "MARGIN", "BASIS", "FORMULA")


def text(estimate: Estimate) -> str:
    """One row per part, a sum per place, and what the settings were taken to mean."""
    rows = [row for place in estimate.places if place.total_bytes for row in _rows(place)]
    settings = ", ".join(f"{name} {value}" for name, value in (estimate.resolved or {}).items())
    notes = "".join(f"note: {note}\n" for note in estimate.notes)
    return f"{table(HEADERS, rows)}\nas the engine reads it: {settings}\n{notes}"


def _rows(place: PlaceMemory) -> Iterator[tuple[str, ...]]:
    for part in place.parts:
        if part.bytes:
            margin = human_bytes(part.margin_bytes) if part.margin_bytes else ""
            yield place.place, part.kind, str(part.bytes), human_bytes(part.bytes), margin, part.basis, part.formula
    total = place.total_bytes
    yield place.place, "total", str(total), human_bytes(total), human_bytes(place.margin_bytes), "", ""

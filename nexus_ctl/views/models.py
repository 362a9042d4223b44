"""Model files of the cache → tables or JSON."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.catalog import Rating
from nexus_ctl.views.model_use import ratings_json, stars
from nexus_ctl.views.table import table

HEADERS = ("DIGEST", "SIZE", "USED BY", "RATING", "NOTE", "FETCHED", "ORIGIN")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One delivered artifact. `used_by` are `set/model` of the stacks that pin it; `ratings` newest first."""

    sha256: str
    size_bytes: int
    origin: str
    fetched_at: str
    used_by: tuple[str, ...]
    ratings: tuple[Rating, ...] = ()

    @property
    def note(self) -> str:
        """The newest note; "" when nobody wrote one."""
        return next((one.note for one in self.ratings if one.note), "")


def text(files: Sequence[ModelFile]) -> str:
    """The table."""
    rows = [
        (
            one.sha256[:12],
            human_bytes(one.size_bytes),
            ", ".join(one.used_by),
            stars(one.ratings),
            one.note,
            one.fetched_at[:19],
            one.origin,
        )
        for one in files
    ]
    return table(HEADERS, rows)


def to_json(files: Sequence[ModelFile]) -> list[dict[str, Any]]:
    """Keys are stable."""
    return [
        {
            "sha256": one.sha256,
            "sizeBytes": one.size_bytes,
            "origin": one.origin,
            "fetchedAt": one.fetched_at,
            "usedBy": list(one.used_by),
            "ratings": ratings_json(one.ratings),
        }
        for one in files
    ]


def garbage(items: Sequence[tuple[str, str, int]]) -> str:
    """Lines of (what, path, bytes), and their sum."""
    lines = [f"{kind:<11}  {human_bytes(size):>10}  {path}\n" for kind, path, size in items]
    total = human_bytes(sum(size for _, _, size in items))
    return "".join([*lines, f"{len(items)} to remove, {total} come free.\n"])


def garbage_json(items: Sequence[tuple[str, str, int]], removed: Collection[str]) -> dict[str, Any]:
    """Keys are stable. `removed` are paths."""
    rows = [{"kind": kind, "path": path, "sizeBytes": size, "removed": path in removed} for kind, path, size in items]
    return {"items": rows, "freedBytes": sum(size for _, path, size in items if path in removed)}

"""Byte counts and durations as people read them in a plan."""

from __future__ import annotations


def human_bytes(count: int | None) -> str:
    """`98.2 MiB`; `unknown size` for None."""
    if count is None:
        return "unknown size"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"

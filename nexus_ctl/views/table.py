"""Rows → an aligned table, as every `get`-like command prints it. Also the short form of a time span.

The rule: columns are separated by at least two spaces and never cut, and a row is one line, so that `awk` reads what
people read. A cell is somebody's text: what would break the line, or move the cursor, is a space.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

GAP = "   "


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, show_headers: bool = True) -> str:
    """Aligned lines, each with a newline; empty cells are `-`, the last column is not padded."""
    lines = [list(headers), *rows] if show_headers else list(rows)
    cells = [["".join(c if c.isprintable() else " " for c in cell) or "-" for cell in line] for line in lines]
    widths = [max((len(line[i]) for line in cells), default=0) for i in range(len(headers))]
    return "".join(
        GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in cells
    )


def age(since: datetime | None, now: datetime) -> str:
    """How long ago, in one unit or two: `42s`, `5m`, `3h10m`, `12d`; `-` for None."""
    if since is None:
        return "-"
    seconds = max(0, int((now - since).total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 120:
        return f"{minutes}m"
    if hours < 24:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{days}d"

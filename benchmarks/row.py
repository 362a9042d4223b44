"""One figure, and the table of them. What counts is the ratio to a peer that was measured in the same run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure: a median unless `what` says otherwise.

    `peer` is what it is compared with and `peer_value` that one's figure, in the same unit. The limits are what we
    promise, of the value or of the ratio; None promises nothing.
    """

    what: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    at_most: float | None = None
    ratio_at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        """The value in units of the peer's; None without a peer."""
        return self.value / self.peer_value if self.peer_value else None

    @property
    def kept(self) -> bool:
        """Whether every promise is kept; true where there is none."""
        within = self.at_most is None or self.value <= self.at_most
        return within and (self.ratio_at_most is None or self.ratio is None or self.ratio <= self.ratio_at_most)


HEADER = ("figure", "value", "peer", "peer's", "ratio", "limit", "")


def table(rows: Sequence[Row]) -> str:
    """The rows as text, columns aligned, numbers to the right."""
    cells = [HEADER, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = (True, False, True, False, False, False, True)
    lines = [
        "  ".join(
            cell.ljust(width) if at_left else cell.rjust(width)
            for cell, width, at_left in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _cells(row: Row) -> tuple[str, ...]:
    limits = []
    if row.at_most is not None:
        limits.append(_number(row.at_most, row.unit))
    if row.ratio_at_most is not None:
        limits.append(f"x {row.ratio_at_most:g}")
    return (
        row.what,
        _number(row.value, row.unit),
        row.peer,
        _number(row.peer_value, row.unit) if row.peer_value is not None else "",
        f"x {row.ratio:.2f}" if row.ratio is not None else "",
        " or ".join(limits),
        "" if row.kept else "over",
    )


def _number(value: float, unit: str) -> str:
    text = f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text} {unit}"

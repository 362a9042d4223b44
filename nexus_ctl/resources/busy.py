"""Where an engine says how much it is working on, and how its answer is read. Pure.

An engine's module names the signal (`engines.table`), a plan carries it in `Drain`, and the prober asks by it while a
replica drains. The rule: only what the engine really says counts; an answer of another form says nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_SAMPLE = re.compile(r"^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{[^\n]*\})?[ \t]+(\S+)", re.MULTILINE)
"""One sample of Prometheus' text format: its name, its labels left out, its value."""


@dataclass(frozen=True, slots=True)
class BusySignal:
    """`GET path` tells it, in one of two forms.

    `gauges`: Prometheus' text format, in which these are requests; every sample of each counts. `flag`: a JSON list, in
    which an entry with this key true is one request.
    """

    path: str
    gauges: tuple[str, ...] = ()
    flag: str = ""

    def count(self, body: str) -> int | None:
        """Requests that an answer speaks of; None where it is not of this form."""
        return self._flagged(body) if self.flag else self._gauged(body)

    def _flagged(self, body: str) -> int | None:
        try:
            rows = json.loads(body)
        except (ValueError, RecursionError):
            return None
        if not isinstance(rows, list) or not all(isinstance(row, dict) and self.flag in row for row in rows):
            return None
        return sum(row[self.flag] is True for row in rows)

    def _gauged(self, body: str) -> int | None:
        found = [value for name, value in _SAMPLE.findall(body) if name in self.gauges]
        try:
            return sum(int(float(value)) for value in found) if found else None
        except (ValueError, OverflowError):
            return None

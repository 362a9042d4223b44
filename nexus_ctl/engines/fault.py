"""What an engine finds wrong with its own part of a spec, before anything moves.

`engines.table.check` returns these; the manifest's checks give them their place (file, line, column) and print them
with all other faults. The rule: pure values, in the order of the spec's fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `path` is dotted camelCase from `spec`, `code` is kebab-case and stable, `hint` says what to do."""

    path: str
    code: str
    detail: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

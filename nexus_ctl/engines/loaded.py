"""What an engine says it loaded, where that is not what was declared: the value, and reading answers without trust.

Each engine's module names the paths to read (`READS`) and compares (`unlike`); `table.py` joins them. The rule: only
what the engine really says counts. An answer that lacks a fact, or is not what was expected, is no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Answers = Mapping[str, Any]
"""JSON answers of one engine by path; a path that was not answered is left out."""


@dataclass(frozen=True, slots=True)
class Unlike:
    """One declared field that the engine did not load as declared, both in words for people."""

    path: str
    declared: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}: declared {self.declared}, engine says {self.found}"


def fact(answers: Answers, path: str, *keys: str | int) -> Any:
    """What stands in the answer of `path` behind these keys; None where there is no such thing."""
    found = answers.get(path)
    for key in keys:
        try:
            found = found[key]  # type: ignore[index]  # whatever cannot be asked for a key has none
        except (KeyError, IndexError, TypeError):
            return None
    return found


def number(answers: Answers, path: str, *keys: str | int) -> int | None:
    """The same, where it is a whole number."""
    found = fact(answers, path, *keys)
    return found if isinstance(found, int) and not isinstance(found, bool) else None

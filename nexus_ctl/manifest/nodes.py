"""Documents as trees of nodes that know the file, line and column they were written at; and what scalars mean.

`source` makes them; `interpolate` and `overlay` turn them into others; `parse` reads values from them and `find` tells
where a value stands. The rule: a scalar means one thing only. Scalars follow YAML 1.2's core schema (`on` is text,
`22:22` is text, `1.10` is a number), and a number that YAML 1.1 reads differently is refused.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from nexus_ctl.errors import Diagnostic, Location
from nexus_ctl.manifest.codes import SUMMARIES

Path: TypeAlias = tuple[str | int, ...]
Faults: TypeAlias = Callable[[Diagnostic], None]
"""Where a diagnostic is handed; loading goes on and raises at the end."""

_NUMBER_START = frozenset("0123456789+-.")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
TRUTH_WORDS = frozenset({"yes", "no", "on", "off", "y", "n"})
"""Lower-case words that YAML 1.1 reads as true or false and YAML 1.2 as text."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file as read. `name` is what people are shown; `path` is absolute, its folder what paths are relative to."""

    name: str
    path: str
    lines: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where something is written: line and column from 1, and how many characters of that line it takes."""

    source: Source
    line: int
    column: int
    span: int = 1

    @property
    def location(self) -> Location:
        return Location(self.source.name, self.line, self.column)

    def fault(
        self, code: str, detail: str = "", *, path: str = "", hint: str = "", severity: str = "error"
    ) -> Diagnostic:
        """A diagnostic at this place. `code` must be in the table of codes."""
        line = self.source.lines[self.line - 1] if 0 < self.line <= len(self.source.lines) else ""
        return Diagnostic(code, SUMMARIES[code], self.location, path, detail, hint, line, max(1, self.span), severity)


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A text. `plain` is true where it was written without quotes, and so may mean a number, true, false or null."""

    place: Place
    text: str
    plain: bool

    @property
    def is_null(self) -> bool:
        return self.plain and _WORDS.get(self.text, self) is None

    @property
    def is_text(self) -> bool:
        """False where the plain text means a number, true, false or null, or cannot be told."""
        try:
            return not self.plain or isinstance(resolve(self.text), str)
        except ValueError:
            return False


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One key of a map: where the key stands, and its value."""

    key_place: Place
    node: Node


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """A mapping; keys are text, in the order written."""

    place: Place
    entries: dict[str, Entry]


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """A list."""

    place: Place
    items: tuple[Node, ...]


Node: TypeAlias = Scalar | Map | Sequence


def resolve(text: str) -> Any:
    """What a plain scalar means under YAML 1.2's core schema. Raises ValueError(code, detail, hint)."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START:
        return text
    if _LEADING_ZERO.fullmatch(text):
        plain = text.lstrip("+-").lstrip("0") or "0"
        raise ValueError("ambiguous-number", text, f'write {plain} for the number, or "{text}" for the text')
    if _INTEGER.fullmatch(text) or _BASED.fullmatch(text):
        number = int(text, 0) if len(text) <= 24 else 2**64
        if abs(number) >= 2**63:
            raise ValueError(
                "number-range", text[:40], "whole numbers have at most 63 bits; put it in quotes to make it text"
            )
        return number
    if _FLOAT.fullmatch(text):
        if not math.isfinite(value := float(text)):
            raise ValueError("number-range", text[:40], "")
        return value
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("number-range", text, f'for text write "{text}"')
    return text


def plain(node: Node, faults: Faults) -> Any:
    """The node as plain values: dict, list, str, int, float, bool, None. A scalar with a fault becomes None."""
    if isinstance(node, Map):
        return {key: plain(entry.node, faults) for key, entry in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(item, faults) for item in node.items]
    if not node.plain:
        return node.text
    try:
        return resolve(node.text)
    except ValueError as error:
        code, detail, hint = error.args
        faults(node.place.fault(code, detail, hint=hint))
        return None


def find(node: Node, path: Path) -> tuple[Node, Place]:
    """The node at `path`, or the last one on the way there, and where a reader should look for it.

    That place is the value itself for a scalar, else the key that leads to it.
    """
    place = node.place
    for part in path:
        if isinstance(node, Map) and isinstance(part, str) and part in node.entries:
            entry = node.entries[part]
            node, place = entry.node, entry.key_place
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            place = node.place
        else:
            break
    return node, node.place if isinstance(node, Scalar) and not node.is_null else place


def key_of(node: Node, path: Path) -> Place:
    """Where the key that `path` ends with stands; where `find` would look, when there is no such key."""
    parent, _ = find(node, path[:-1])
    entry = parent.entries.get(str(path[-1])) if isinstance(parent, Map) else None
    return entry.key_place if entry is not None else find(node, path)[1]


def at(node: Node | None, *path: str) -> Node | None:
    """The node at `path` through maps; None where there is none."""
    for part in path:
        entry = node.entries.get(part) if isinstance(node, Map) else None
        if entry is None:
            return None
        node = entry.node
    return node

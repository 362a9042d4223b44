"""Diagnostics → text as a compiler would print it, or JSON.

Called by `cli/main.py` for every ManifestError and for a Stack's warnings. The rule: what came from a file is never
sent to a terminal as it is; control characters are shown, not obeyed. Colour is the caller's: `style` gets a role
(`error`, `warning`, `place`, `caret`, `hint`) and a text, and returns the text dressed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from nexus_ctl.errors import Diagnostic

Style: TypeAlias = Callable[[str, str], str]

_WIDTH = 100
"""Source lines are cut to this many characters around the caret."""
_LEAD = 60


def plain(role: str, text: str) -> str:
    """The style that adds nothing."""
    del role
    return text


def render(diagnostics: Iterable[Diagnostic], style: Style = plain) -> str:
    """All diagnostics in the order given, a blank line between two, a newline at the end; empty for none."""
    return "".join(text + "\n" for text in ["\n\n".join(_one(one, style) for one in diagnostics)] if text)


def to_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """The same as JSON values; keys are stable."""
    return [
        {
            "severity": one.severity,
            "code": one.code,
            "summary": one.summary,
            "detail": one.detail,
            "hint": one.hint,
            "path": one.path,
            "file": one.location.file,
            "line": one.location.line,
            "column": one.location.column,
            "span": one.span,
        }
        for one in diagnostics
    ]


def _one(one: Diagnostic, style: Style) -> str:
    place = f"{_shown(str(one.location))}{'  ' + _shown(one.path) if one.path else ''}"
    lines = [f"{style(one.severity, f'{one.severity}[{one.code}]')}: {one.summary}", f"  --> {style('place', place)}"]
    if one.source_line.strip():
        lines += _excerpt(one, style)
    elif one.detail:
        lines.append(f"   | {style('caret', _shown(one.detail))}")
    if one.hint:
        lines.append(f"{style('hint', 'hint')}: {shown_lines(one.hint)}")
    return "\n".join(lines)


def _excerpt(one: Diagnostic, style: Style) -> list[str]:
    start = max(0, one.location.column - 1 - _LEAD) if len(one.source_line) > _WIDTH else 0
    window = one.source_line[start : start + _WIDTH]
    text = ("…" if start else "") + _shown(window) + ("…" if start + _WIDTH < len(one.source_line) else "")
    offset = one.location.column - 1 - start
    before = (1 if start else 0) + _cells(window[:offset])
    span = max(1, _cells(window[offset : offset + one.span]))
    gutter = str(one.location.line)
    caret = " " * before + style("caret", "^" * span + (f" {_shown(one.detail)}" if one.detail else ""))
    return [f"{gutter} | {text}", f"{' ' * len(gutter)} | {caret}"]


def _shown(text: str) -> str:
    """`text` with everything that a terminal would act on replaced by one visible character."""
    return "".join(
        char if char.isprintable() else " " if char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def shown_lines(text: str) -> str:
    """`text` safe to send to a terminal, its line ends kept."""
    return "\n".join(map(_shown, text.split("\n")))


def _cells(text: str) -> int:
    """Terminal columns that `text` takes: wide East Asian characters count two, combining ones none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )

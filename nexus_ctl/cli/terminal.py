"""What the terminal can show: colour by role where there is one, none elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from nexus_ctl.views.diagnostics import Style

COLOURS: Mapping[str, Mapping[str, object]] = {
    "error": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow", "bold": True},
    "place": {"fg": "cyan"},
    "caret": {"fg": "red"},
    "hint": {"fg": "green", "bold": True},
    "create": {"fg": "green"},
    "update": {"fg": "yellow"},
    "replace": {"fg": "magenta"},
    "remove": {"fg": "red"},
    "blocked": {"fg": "yellow", "bold": True},
    "drift": {"fg": "red", "bold": True},
    "good": {"fg": "green"},
    "bad": {"fg": "red"},
    "summary": {"bold": True},
}
"""Role → how it is dressed. A role that is not here stays plain."""


def style_for(stream: TextIO) -> Style:
    """Colour only on a terminal, never with NO_COLOR set or a dumb terminal."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        from nexus_ctl.views.diagnostics import plain

        return plain
    return _coloured


def _coloured(role: str, text: str) -> str:
    return click.style(text, **COLOURS.get(role, {}))  # type: ignore[arg-type]  # values of a table

"""One error that is not a manifest's → text: what, where, what now (style of the diagnostics)."""

from __future__ import annotations

from nexus_ctl.errors import NexusError
from nexus_ctl.views.diagnostics import Style, plain, shown_lines


def failure(error: NexusError, style: Style = plain) -> str:
    """`error[code]: summary`, the detail indented, and the hint; a command to copy stands alone on its line."""
    lines = [f"{style('error', f'error[{error.code}]')}: {error.summary}"]
    lines += [f"  {line}".rstrip() for line in shown_lines(error.detail).split("\n") if error.detail]
    if error.hint:
        lines += _hint(error.hint, style)
    return "\n".join(lines) + "\n"


def _hint(hint: str, style: Style) -> list[str]:
    word = style("hint", "hint")
    words, _, command = hint.partition("nexusctl ")
    if words.strip(" :\n") or not command or "\n" in command:
        return [f"{word}: {shown_lines(hint)}"]
    return [f"{word}: run", f"  {shown_lines(hint.strip())}"]

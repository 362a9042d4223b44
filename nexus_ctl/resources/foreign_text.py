"""Text that strangers wrote (model cards, file headers, notes) → text that a terminal may show and a store may keep.

Called where such text becomes a value. The rule: no control character but the line break, nothing that turns the
direction of writing, and never more than was asked for.
"""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
"""Terminal sequences, whole: CSI, OSC with its text, and the short ones. Source: ECMA-48, 5.3 and 5.4."""
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
"""Marks and embeddings of direction, invisible, with which one text can be made to look like another."""
_BREAKS = str.maketrans({"\r": "\n", "\t": " ", "\x0b": "\n", "\u2028": "\n", "\u2029": "\n"})


def line(text: object, limit: int = 200) -> str:
    """One line of at most `limit` characters, ends stripped; "" for what is no text."""
    return " ".join(paragraphs(text, limit * 4).split())[:limit].rstrip()


def paragraphs(text: object, limit: int) -> str:
    """At most `limit` characters, line breaks kept; "" for what is no text."""
    if not isinstance(text, str):
        return ""
    shown = _ESCAPES.sub("", text[: limit * 2].replace("\r\n", "\n")).translate(_BREAKS)
    return "".join(char for char in shown if char == "\n" or _is_plain(char))[:limit].strip("\n")


def is_plain(text: str) -> bool:
    """Whether it holds nothing that `line` would take out."""
    return all(_is_plain(char) for char in text)


def _is_plain(char: str) -> bool:
    return char not in _TURNS and unicodedata.category(char) not in ("Cc", "Cs")

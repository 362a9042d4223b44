"""What a search found → a table, JSON, or names that other commands take."""

from __future__ import annotations

from typing import Any

from nexus_ctl.clock import stamp
from nexus_ctl.resources.catalog import Found, SearchResult
from nexus_ctl.views import freshness
from nexus_ctl.views.table import table

HEADERS = ("MODEL", "PARAMETERS", "LICENCE", "TASK", "GGUF", "DOWNLOADS", "LIKES", "UPDATED", "ACCESS")


def text(found: SearchResult) -> str:
    """The table, in the hub's order."""
    return table(HEADERS, [_row(one) for one in found.models])


def names(found: SearchResult) -> str:
    """One `hf:owner/name` a line."""
    return "".join(f"hf:{one.repo}\n" for one in found.models)


def to_json(found: SearchResult) -> dict[str, Any]:
    """Keys are stable."""
    return {"models": [_json(one) for one in found.models], **freshness.to_json(found.fresh)}


def short_count(count: int | None) -> str:
    """`1.1 B`, `135 M`, `980`; "" when it is not known."""
    if count is None:
        return ""
    for size, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def access(*, gated: bool, private: bool) -> str:
    """What stands between a person and the files; "open" for nothing."""
    return ", ".join(word for word, so in (("private", private), ("gated", gated)) if so) or "open"


def _row(one: Found) -> tuple[str, ...]:
    card = one.card
    return (
        one.repo,
        short_count(card.parameters),
        card.license,
        card.task,
        "yes" if one.is_gguf else "no",
        "" if card.downloads is None else str(card.downloads),
        "" if card.likes is None else str(card.likes),
        f"{card.updated:%Y-%m-%d}" if card.updated else "",
        access(gated=card.gated, private=card.private),
    )


def _json(one: Found) -> dict[str, Any]:
    card = one.card
    return {
        "name": f"hf:{one.repo}",
        "repo": one.repo,
        "parameters": card.parameters,
        "license": card.license or None,
        "task": card.task or None,
        "library": card.library or None,
        "gguf": one.is_gguf,
        "architecture": card.architecture or None,
        "contextTokens": card.context_tokens,
        "downloads": card.downloads,
        "likes": card.likes,
        "updated": stamp(card.updated) if card.updated else None,
        "gated": card.gated,
        "private": card.private,
        "tags": list(card.tags),
    }

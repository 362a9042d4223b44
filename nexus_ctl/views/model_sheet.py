"""Everything about one model on a page: card, what is on offer and fits, use, opinions. Text or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nexus_ctl.clock import stamp
from nexus_ctl.placement.llama_cpp.choice import Recommendation
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.catalog import Card, ModelFacts, Quantization, Rating, Usage
from nexus_ctl.views import choice, freshness
from nexus_ctl.views.found_models import access, short_count
from nexus_ctl.views.model_use import ratings_json, ratings_text, stars, usage_json, usage_text
from nexus_ctl.views.table import table

HEADERS = ("QUANTIZATION", "SIZE", "FILES", "HERE", "BITS", "FIT", "NEEDS", "WHY")
SCORES = ("TASK", "DATASET", "METRIC", "VALUE")
TAGS = 12
"""Tags shown as text; JSON has them all."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One model as a page. `choice` is None where no header could be read; `weighed_for` says with which settings.

    `usage_note` says why there is no usage; "" where there is.
    """

    facts: ModelFacts
    choice: Recommendation | None
    weighed_for: str
    place_names: Mapping[str, str]
    usage: Usage | None
    usage_note: str
    ratings: tuple[Rating, ...]


def text(sheet: Sheet, now: datetime) -> str:
    """The page."""
    facts = sheet.facts
    title = facts.name + (f"  {facts.card.title}" if facts.card.title else "")
    facts_lines = "".join(f"  {name:<13} {value}\n" for name, value in _lines(facts, now) if value)
    parts = [f"{title}\n{facts_lines}"]
    if facts.quantizations:
        parts.append(table(HEADERS, [_row(one, sheet) for one in facts.quantizations]))
    if sheet.choice is not None:
        parts.append(choice.sentence(sheet.choice, sheet.place_names) + f"weighed for {sheet.weighed_for}\n")
    if facts.no_header:
        parts.append(f"not weighed: {facts.no_header}\n" if sheet.choice is None else f"note: {facts.no_header}\n")
    if facts.card.scores:
        rows = [(one.task, one.dataset, one.metric, one.value) for one in facts.card.scores]
        parts.append(f"scores, as the card claims:\n{table(SCORES, rows)}")
    use = usage_text(sheet.usage, now) if sheet.usage is not None else sheet.usage_note
    parts.append(f"use: {use}\n" if use else "")
    if sheet.ratings:
        parts.append(f"rated {stars(sheet.ratings)}:\n{ratings_text(sheet.ratings, now)}")
    return "\n".join(part for part in parts if part)


def _lines(facts: ModelFacts, now: datetime) -> Iterator[tuple[str, str]]:
    card = facts.card
    yield "source", facts.origin
    yield "licence", card.license
    yield "parameters", short_count(card.parameters)
    trained = f"trained for {card.context_tokens} tokens" if card.context_tokens else ""
    yield "architecture", ", ".join(part for part in (card.architecture, trained) if part)
    yield "task", card.task
    yield "base model", ", ".join(card.base_models)
    yield "languages", ", ".join(card.languages)
    more = f" and {len(card.tags) - TAGS} more" if len(card.tags) > TAGS else ""
    yield "tags", ", ".join(card.tags[:TAGS]) + more
    yield "template", f"{len(card.chat_template)} characters (--template prints it)" if card.chat_template else ""
    if facts.fresh is not None:
        counts = [f"{card.downloads} downloads in 30 days"] if card.downloads is not None else []
        counts += [f"{card.likes} likes"] if card.likes is not None else []
        counts += [f"updated {card.updated:%Y-%m-%d}"] if card.updated else []
        yield "hub", ", ".join(counts)
        yield "access", access(gated=card.gated, private=card.private)
        yield "commit", facts.commit
        yield "known", freshness.as_of(facts.fresh, now)


def _row(one: Quantization, sheet: Sheet) -> tuple[str, ...]:
    weighed = (
        next((w for w in sheet.choice.weighed if w.label == one.label), None) if sheet.choice is not None else None
    )
    mark = " *" if sheet.choice is not None and weighed is not None and weighed is sheet.choice.best else ""
    here = "taken" if one.label == sheet.facts.taken else ""
    here = ", ".join(part for part in ("yes" if one.label in sheet.facts.here else "", here) if part)
    size, files = human_bytes(one.size_bytes), str(len(one.files))
    if weighed is None:
        return one.label, size, files, here, "", "", "", ""
    _, _, bits, fit, needs, why = choice.row(weighed, sheet.place_names, best=False)
    return one.label + mark, size, files, here, bits, fit, needs, why


def to_json(sheet: Sheet) -> dict[str, Any]:
    """Keys are stable; what is not known is null or empty."""
    facts = sheet.facts
    return {
        "name": facts.name,
        "origin": facts.origin,
        "commit": facts.commit or None,
        "card": card_json(facts.card),
        "quantizations": [quantization_json(one, facts) for one in facts.quantizations],
        "fits": None if sheet.choice is None else {"for": sheet.weighed_for, **choice.to_json(sheet.choice)},
        "note": facts.no_header or None,
        "usage": usage_json(sheet.usage),
        "usageNote": sheet.usage_note or None,
        "ratings": ratings_json(sheet.ratings),
        "known": freshness.to_json(facts.fresh) if facts.fresh is not None else None,
        "read": read_json(facts),
    }


def read_json(facts: ModelFacts) -> dict[str, int]:
    """What it cost to know: requests sent, bytes of model files read; nothing where all was remembered."""
    return {"requests": facts.requests, "headerBytes": facts.bytes_read}


def quantization_json(one: Quantization, facts: ModelFacts) -> dict[str, Any]:
    """One model file on offer."""
    return {
        "label": one.label,
        "sizeBytes": one.size_bytes,
        "files": [{"name": file.name, "sizeBytes": file.size_bytes, "sha256": file.sha256} for file in one.files],
        "here": one.label in facts.here,
        "taken": one.label == facts.taken,
    }


def card_json(card: Card) -> dict[str, Any]:
    """The card."""
    return {
        "title": card.title or None,
        "license": card.license or None,
        "task": card.task or None,
        "library": card.library or None,
        "parameters": card.parameters,
        "architecture": card.architecture or None,
        "contextTokens": card.context_tokens,
        "baseModels": list(card.base_models),
        "languages": list(card.languages),
        "tags": list(card.tags),
        "gated": card.gated,
        "private": card.private,
        "downloads": card.downloads,
        "likes": card.likes,
        "updated": stamp(card.updated) if card.updated else None,
        "chatTemplate": card.chat_template or None,
        "scores": [
            {"task": one.task, "dataset": one.dataset, "metric": one.metric, "value": one.value} for one in card.scores
        ],
    }

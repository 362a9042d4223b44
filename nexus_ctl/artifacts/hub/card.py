"""What the hub's client says of a model → a `Card`. The one place that believes a field of a card to be anything.

Cards are written by strangers: a licence may be a list, a language a number, a score a novel. What has not the form
it should have is left out; what has is plain text of bounded length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nexus_ctl.resources.catalog import Card, Found, Score
from nexus_ctl.resources.foreign_text import line, paragraphs

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

EXPAND = (
    "cardData", "downloads", "gated", "gguf", "lastModified", "library_name", "likes", "pipeline_tag", "private",
    "safetensors", "sha", "tags",
)  # fmt: skip
"""The properties of one model that are asked for."""
SEARCH_EXPAND = tuple(name for name in EXPAND if name not in ("cardData", "sha"))
"""Of the rows of a search: a single odd card must not spoil the list."""
ITEMS = 50
"""Of a list (tags, languages, base models, scores)."""
TEMPLATE_CHARACTERS = 100_000


def card_of(info: ModelInfo) -> Card:
    """The card of a model, as far as it can be believed."""
    said = getattr(info.card_data, "__dict__", {})
    tags = _texts(info.tags)
    gguf = info.gguf if isinstance(info.gguf, Mapping) else {}
    safetensors = info.safetensors.total if info.safetensors is not None else None
    return Card(
        title=line(said.get("model_name")),
        license=_license(said, tags),
        task=line(info.pipeline_tag) or line(said.get("pipeline_tag")),
        library=line(info.library_name) or line(said.get("library_name")),
        tags=tuple(tag for tag in tags if ":" not in tag),
        languages=_texts(said.get("language")),
        base_models=_texts(said.get("base_model")) or _tagged(tags, "base_model:"),
        parameters=_count(gguf.get("total")) or _count(safetensors),
        architecture=line(gguf.get("architecture")),
        context_tokens=_count(gguf.get("context_length")),
        chat_template=paragraphs(gguf.get("chat_template"), TEMPLATE_CHARACTERS),
        scores=_scores(getattr(info.card_data, "eval_results", None)),
        gated=bool(info.gated),
        private=info.private is True,
        downloads=_count(info.downloads),
        likes=_count(info.likes),
        updated=info.last_modified if isinstance(info.last_modified, datetime) else None,
    )


def terms_of(card: Card) -> Mapping[str, str]:
    """Licence and access, as they are kept beside the bytes that came under them."""
    return {"license": card.license, "access": "gated" if card.gated else "open"}


def found_of(info: ModelInfo) -> Found:
    """A row of a search."""
    tags = _texts(info.tags)
    return Found(line(info.id), card_of(info), "gguf" in tags or bool(info.gguf))


def _license(said: Mapping[str, Any], tags: Iterable[str]) -> str:
    """The licence's short name; for "other" the name that the card gives it."""
    name = ", ".join(_texts(said.get("license"))) or ", ".join(_tagged(tags, "license:"))
    given = line(said.get("license_name"))
    return given if name in ("", "other") and given else name


def _tagged(tags: Iterable[str], prefix: str) -> tuple[str, ...]:
    """What tags of the form `prefix...` name; those with a relation (`base_model:quantized:...`) repeat the others."""
    found = (tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))
    return tuple(name for name in found if ":" not in name)


def _texts(value: object) -> tuple[str, ...]:
    """One text or a list of texts; everything else in it is left out."""
    values = value if isinstance(value, list | tuple) else [value]
    found = (line(one) for one in values[:ITEMS])
    return tuple(dict.fromkeys(text for text in found if text))


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 62 else None


def _scores(results: object) -> tuple[Score, ...]:
    """The results that the card claims, in its order."""
    found = []
    for one in results[:ITEMS] if isinstance(results, list) else ():
        value = getattr(one, "metric_value", None)
        shown = f"{value:g}" if type(value) in (int, float) else line(value, 40)
        metric = line(getattr(one, "metric_name", None)) or line(getattr(one, "metric_type", None))
        if shown and metric:
            found.append(
                Score(line(getattr(one, "task_type", None)), line(getattr(one, "dataset_name", None)), metric, shown)
            )
    return tuple(found)

"""What the header of a GGUF file says of the model itself → a `Card`. Pure; for files that no hub speaks of.

Source of the keys: ggml's docs/gguf.md, "Standardized key-value pairs".
"""

from __future__ import annotations

from dataclasses import fields, replace

from nexus_ctl.resources.catalog import Card
from nexus_ctl.resources.foreign_text import line, paragraphs
from nexus_ctl.resources.weights import GgufHeader

TEMPLATE_CHARACTERS = 100_000
_BASES = 8
"""Base models that a header may name."""


def header_card(header: GgufHeader) -> Card:
    """The card of a file, from its own metadata."""

    def texts(key: str) -> tuple[str, ...]:
        value = header.metadata.get(key)
        found = (line(one) for one in value) if isinstance(value, tuple) else ()
        return tuple(text for text in found if text)

    context = header.field("context_length")
    bases = (line(header.metadata.get(f"general.base_model.{n}.repo_url")) for n in range(_BASES))
    return Card(
        title=line(header.metadata.get("general.name")),
        license=line(header.metadata.get("general.license")),
        tags=texts("general.tags"),
        languages=texts("general.languages"),
        base_models=tuple(base for base in bases if base),
        parameters=header.parameters or None,
        architecture=line(header.architecture),
        context_tokens=context if type(context) is int and context > 0 else None,
        chat_template=paragraphs(header.metadata.get("tokenizer.chat_template"), TEMPLATE_CHARACTERS),
    )


def completed(card: Card, by: Card) -> Card:
    """`card`, with what it leaves open taken from another."""
    missing = {one.name: getattr(by, one.name) for one in fields(Card) if getattr(card, one.name) in ("", (), None)}
    return replace(card, **missing)

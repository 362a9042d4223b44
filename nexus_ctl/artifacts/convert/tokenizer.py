"""A model's tokenizer as GGUF metadata: tokens, what they are, special ones, and what is put before and after a text.

Called by the conversion. A `tokenizer.model` is SentencePiece's and goes first; a `tokenizer.json` is one of two kinds,
byte-level BPE (`byte_level`) or SentencePiece's in another dress (`pieces`). Added tokens stand in any of three files.
Source of the keys: GGUF's specification; of who says what: llama.cpp's conversion and transformers' files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nexus_ctl.artifacts.convert import byte_level
from nexus_ctl.artifacts.convert.pieces import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Pieces,
    of_merges,
    of_model,
)
from nexus_ctl.artifacts.headers.folder import Folder
from nexus_ctl.artifacts.headers.gguf_bytes import Written

FILES = ("tokenizer.model", "tokenizer.json")
"""Either of them must be among the files."""
ADDED_SCORE = -1000.0
_SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


@dataclass(frozen=True, slots=True)
class Added:
    """A token that was put in beside the trained ones. `greedy`: it takes the spaces after it."""

    text: str
    special: bool
    greedy: bool


def entries_of(folder: Folder, config: Mapping[str, Any], vocabulary: int) -> dict[str, Written]:
    """The metadata under `tokenizer.`; `vocabulary` is how many rows the embedding has.

    Raises ValueError for what cannot be said in GGUF.
    """
    told, settings = folder.table("tokenizer.json"), folder.table("tokenizer_config.json")
    added = {number: one for number, one in added_tokens(folder).items() if 0 <= number < vocabulary}
    model, made = told.get("model") or {}, folder.whole("tokenizer.model")
    if made or model.get("byte_fallback"):
        pieces = of_model(made) if made else of_merges(model, told, vocabulary)
        texts, found = _pieces(pieces, added, settings, vocabulary)
        named: Mapping[str, int] = pieces.special
    elif model.get("type") == "BPE":
        texts, found = _byte_level(told, added, vocabulary)
        named = {}
    else:
        raise ValueError(
            f"tokenizer.json: model.type is {model.get('type')}; BPE is converted, of bytes or SentencePiece's"
        )
    numbers = {text: number for number, text in reversed(texts.items())}
    special = _special(settings, config, numbers, {name: at for name, at in named.items() if at < vocabulary})
    return found | special | _around(told, settings, found) | _template(folder, settings)


def added_tokens(folder: Folder) -> Mapping[int, Added]:
    """By number; the file that says most of a token has the last word."""
    found: dict[int, Added] = {}
    for text, number in folder.table("added_tokens.json").items():
        found[int(number)] = Added(str(text), False, False)
    for number, one in (folder.table("tokenizer_config.json").get("added_tokens_decoder") or {}).items():
        found[int(number)] = Added(one["content"], bool(one.get("special")), bool(one.get("rstrip")))
    for one in folder.table("tokenizer.json").get("added_tokens") or []:
        found[int(one["id"])] = Added(one["content"], bool(one.get("special")), bool(one.get("rstrip")))
    return found


def _pieces(
    pieces: Pieces, added: Mapping[int, Added], settings: Mapping[str, Any], vocabulary: int
) -> tuple[dict[int, str], dict[str, Written]]:
    rest = range(len(pieces.texts), vocabulary)
    texts = [*pieces.texts, *(f"[PAD{number}]" for number in rest)]
    scores, kinds = [*pieces.scores, *([ADDED_SCORE] * len(rest))], [*pieces.kinds, *([UNUSED] * len(rest))]
    _fits(len(pieces.texts), vocabulary)
    for number, one in added.items():
        if kinds[number] not in (UNKNOWN, BYTE):
            kinds[number] = CONTROL if one.special else USER_DEFINED
            texts[number], scores[number] = one.text, ADDED_SCORE
    for number, kind in enumerate(kinds):
        if kind == USER_DEFINED:
            texts[number] = texts[number].replace(SPACE, " ")  # they are looked for before spaces are rewritten
    prefix = settings.get("add_prefix_space")
    return dict(enumerate(texts)), {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.add_space_prefix": prefix if isinstance(prefix, bool) else pieces.prefix,
    }


def _byte_level(
    told: Mapping[str, Any], added: Mapping[int, Added], vocabulary: int
) -> tuple[dict[int, str], dict[str, Written]]:
    texts = {number: text for text, number in told["model"]["vocab"].items()}
    _fits(max(texts, default=0) + 1, vocabulary)
    texts |= {number: one.text for number, one in added.items()}

    def kind(number: int) -> int:
        if number not in texts:
            return UNUSED
        if number not in added:
            return NORMAL
        return CONTROL if added[number].special else USER_DEFINED

    return texts, {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": [texts.get(number, f"[PAD{number}]") for number in range(vocabulary)],
        "tokenizer.ggml.token_type": list(map(kind, range(vocabulary))),
        **byte_level.words(told),
    }


def _fits(count: int, vocabulary: int) -> None:
    """Trained tokens have a row each; added ones beyond the last row cannot be meant, and are left out before."""
    if count > vocabulary:
        raise ValueError(f"the tokenizer has {count} tokens, the model {vocabulary}")


def _special(
    settings: Mapping[str, Any], config: Mapping[str, Any], numbers: Mapping[str, int], named: Mapping[str, int]
) -> dict[str, Written]:
    """Which token begins, ends, pads and is unknown: by its text, else by its number, else as SentencePiece has it."""
    found: dict[str, Written] = {}
    for key, name in _SPECIAL.items():
        token = settings.get(key)
        text = token.get("content") if isinstance(token, dict) else token
        number = numbers.get(text) if isinstance(text, str) else config.get(f"{key}_id", named.get(name))
        if type(number) is int and number >= 0:
            found[f"tokenizer.ggml.{name}_token_id"] = number
    return found


def _around(told: Mapping[str, Any], settings: Mapping[str, Any], tokens: Mapping[str, Written]) -> dict[str, Written]:
    """What is put before and after a text: as the settings say, else as the template of the tokenizer does it.

    Where neither speaks, SentencePiece's have a beginning, as llama.cpp takes it to be, and byte-level ones nothing.
    """
    found: dict[str, Written] = {}
    if tokens["tokenizer.ggml.model"] == "gpt2":
        found = {"tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_eos_token": False}
    after = told.get("post_processor") or {}
    for one in after.get("processors") or [after]:
        if one.get("type") == "TemplateProcessing" and len(single := one["single"]) > 1:
            found["tokenizer.ggml.add_bos_token"] = "SpecialToken" in single[0]
            found["tokenizer.ggml.add_eos_token"] = "SpecialToken" in single[-1]
    for key in ("add_bos_token", "add_eos_token"):
        if isinstance(settings.get(key), bool):
            found[f"tokenizer.ggml.{key}"] = settings[key]
    return found


def _template(folder: Folder, settings: Mapping[str, Any]) -> dict[str, Written]:
    """The chat template: a file of its own, else the settings', of several the one called default; models that see
    have it in a third file."""
    chat = folder.whole("chat_template.jinja").decode() or settings.get("chat_template")
    chat = chat or folder.table("chat_template.json").get("chat_template")
    if isinstance(chat, list):
        chat = {one["name"]: one["template"] for one in chat}.get("default")
    return {"tokenizer.chat_template": chat} if isinstance(chat, str) else {}

"""A `tokenizer.json` as GGUF metadata: the tokens, what they are, the merges, and by which rule text is cut before.

Called by the conversion, on byte-level BPE alone. llama.cpp knows the rule of cutting by a name; the name is found by
the rule itself, and a rule that is not in the table is refused, since a wrong one answers plausibly and badly.
Source of the names: llama.cpp, src/llama-vocab.cpp; of the rules: the published tokenizers of these models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nexus_ctl.artifacts.gguf_bytes import Written

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""What a token is. Source: llama.h, enum llama_token_attr as files number it."""

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
CUTS: Mapping[tuple[str, ...], str] = {
    ("ByteLevel+regex",): "gpt-2",
    ("Digits", "ByteLevel+regex"): "smollm",
    ((_WORDS % "{1,3}") + _SPACES, "ByteLevel"): "llama-bpe",
    ((_WORDS % "") + _SPACES, "ByteLevel"): "qwen2",
}
"""The steps that cut a text, and what llama.cpp calls them together."""
_SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def entries_of(tokenizer: bytes, config: bytes, template: bytes, vocabulary: int) -> dict[str, Written]:
    """The metadata under `tokenizer.`; `config` is `tokenizer_config.json`, `template` a chat template of its own.

    `vocabulary` is how many rows the embedding has. Raises ValueError for what cannot be said in GGUF.
    """
    told, settings = json.loads(tokenizer), json.loads(config) if config else {}
    model = told["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise ValueError(
            f"a tokenizer of type {model.get('type')} with byte fallback; only byte-level BPE is converted"
        )
    added = {one["id"]: one for one in told.get("added_tokens", [])}
    by_id = {number: token for token, number in model["vocab"].items()} | {
        n: one["content"] for n, one in added.items()
    }
    if max(by_id) >= vocabulary:
        raise ValueError(f"the tokenizer has more tokens than the model's {vocabulary}")
    merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]
    numbers = {token: number for number, token in by_id.items()}
    found: dict[str, Written] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _cut(told.get("pre_tokenizer") or {}),
        "tokenizer.ggml.tokens": [by_id.get(number, f"[PAD{number}]") for number in range(vocabulary)],
        "tokenizer.ggml.token_type": [_kind(number, by_id, added) for number in range(vocabulary)],
        "tokenizer.ggml.merges": merges,
    }
    for key, name in _SPECIAL.items():
        token = settings.get(key)
        text = token.get("content") if isinstance(token, dict) else token
        if text in numbers:
            found[f"tokenizer.ggml.{name}_token_id"] = numbers[text]
    for key, name in (("add_bos_token", "add_bos_token"), ("add_eos_token", "add_eos_token")):
        if isinstance(settings.get(key), bool):
            found[f"tokenizer.ggml.{name}"] = settings[key]
    chat = template.decode() or settings.get("chat_template")
    if isinstance(chat, str):
        found["tokenizer.chat_template"] = chat
    return found


def _kind(number: int, by_id: Mapping[int, str], added: Mapping[int, Mapping[str, Any]]) -> int:
    if number not in by_id:
        return UNUSED
    if number not in added:
        return NORMAL
    return CONTROL if added[number].get("special") else USER_DEFINED


def _cut(rule: Mapping[str, Any]) -> str:
    steps = tuple(map(_step, rule["pretokenizers"] if rule.get("type") == "Sequence" else [rule]))
    if steps not in CUTS:
        raise ValueError(f"the tokenizer cuts text by a rule that is not known here: {', '.join(steps)}")
    return CUTS[steps]


def _step(one: Mapping[str, Any]) -> str:
    match one:
        case {"type": "ByteLevel", "add_prefix_space": False}:
            return "ByteLevel+regex" if one.get("use_regex", True) else "ByteLevel"
        case {"type": "Digits", "individual_digits": True}:
            return "Digits"
        case {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False}:
            return pattern
    return json.dumps(one)[:80]

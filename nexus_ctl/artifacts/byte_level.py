"""A byte-level BPE `tokenizer.json` as GGUF metadata: tokens, merges, and by which rule text is cut before.

Called by `tokenizer`. llama.cpp knows the rule of cutting by a name; the name is found by the rule itself, and a rule
that is not in the table is refused, since a wrong one answers plausibly and badly. Source of the names: llama.cpp,
src/llama-vocab.cpp; of the rules: the published tokenizers of these models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nexus_ctl.artifacts.gguf_bytes import Written

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
CUTS: Mapping[tuple[str, ...], str] = {
    ("ByteLevel+regex",): "gpt-2",
    ("Digits", "ByteLevel+regex"): "smollm",
    ((_WORDS % "{1,3}") + _SPACES, "ByteLevel"): "llama-bpe",
    ((_WORDS % "") + _SPACES, "ByteLevel"): "qwen2",
}
"""The steps that cut a text, and what llama.cpp calls them together."""


def words(told: Mapping[str, Any]) -> dict[str, Written]:
    """The rule and the merges. Raises ValueError for a rule that is not known."""
    merges = [one if isinstance(one, str) else " ".join(one) for one in told["model"]["merges"]]
    return {"tokenizer.ggml.pre": _cut(told.get("pre_tokenizer") or {}), "tokenizer.ggml.merges": merges}


def _cut(rule: Mapping[str, Any]) -> str:
    steps = tuple(map(_step, rule["pretokenizers"] if rule.get("type") == "Sequence" else [rule]))
    if steps not in CUTS:
        raise ValueError(
            f"tokenizer.json: pre_tokenizer cuts text by a rule that is not known here: {', '.join(steps)}"
        )
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

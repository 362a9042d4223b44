"""A byte-level BPE `tokenizer.json` as GGUF metadata: tokens, merges, and by which rule text is cut before.

Called by `tokenizer`. llama.cpp knows the rule of cutting by a name; the name is found by the rule itself, and a rule
that is not in the table is refused, since a wrong one answers plausibly and badly. Source of the names: llama.cpp,
src/llama-vocab.cpp; of the rules: the published tokenizers of these models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nexus_ctl.artifacts.headers.gguf_bytes import Written

_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = _SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _SPACES
_LARGE, _SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = "|".join(rf"[^\r\n\p{{L}}\p{{N}}]?{_LARGE}{large}{_SMALL}{small}%s" for large, small in ("*+", "+*"))
_CASED += r"|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _SPACES
CUTS: Mapping[tuple[tuple[str, ...], bool], str] = {
    (("ByteLevel+regex",), False): "gpt-2",
    (("Digits", "ByteLevel+regex"), False): "smollm",
    ((_WORDS % "{1,3}", "ByteLevel"), True): "llama-bpe",
    ((_WORDS % "{1,3}", "ByteLevel"), False): "dbrx",
    ((_WORDS % "", "ByteLevel"), False): "qwen2",
    ((_CASED % ("", "", ""), "ByteLevel"), True): "tekken",
    ((_CASED % (f"{_SHORT}?", f"{_SHORT}?", "{1,3}"), "ByteLevel"), False): "gpt-4o",
}
"""The steps that cut a text, with whether a whole word goes before its merges, and what llama.cpp calls the two."""
_NORMALIZERS = (None, {"type": "NFC"})
"""llama.cpp takes a text as it is; most texts are composed already."""


def words(told: Mapping[str, Any]) -> dict[str, Written]:
    """The rule and the merges. Raises ValueError for a rule that is not known."""
    model, normalizer = told["model"], told.get("normalizer")
    if normalizer not in _NORMALIZERS:
        raise ValueError(f"tokenizer.json: normalizer is {normalizer}, llama.cpp changes no text"[:300])
    merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]
    cut = _cut(told.get("pre_tokenizer") or {}, whole=bool(model.get("ignore_merges")))
    return {"tokenizer.ggml.pre": cut, "tokenizer.ggml.merges": merges}


def _cut(rule: Mapping[str, Any], *, whole: bool) -> str:
    steps = tuple(map(_step, rule["pretokenizers"] if rule.get("type") == "Sequence" else [rule]))
    if (steps, whole) not in CUTS:
        told = ", ".join((*steps, "model.ignore_merges") if whole else steps)
        raise ValueError(f"tokenizer.json: pre_tokenizer cuts text by a rule that is not known here: {told}"[:400])
    return CUTS[steps, whole]


def _step(one: Mapping[str, Any]) -> str:
    match one:
        case {"type": "ByteLevel", "add_prefix_space": False}:
            return "ByteLevel+regex" if one.get("use_regex", True) else "ByteLevel"
        case {"type": "Digits", "individual_digits": True}:
            return "Digits"
        case {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False}:
            return pattern
        case {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Removed", "invert": True}:
            return pattern  # what matches is kept, and every character matches
    return json.dumps(one)[:80]

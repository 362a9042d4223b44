"""Readers: the word after a flag → the value of xllamacpp's attribute. Named in the rows of `flags.SETTINGS`.

Each gets the word, the attribute's value so far (lists and maps grow with every mention of their flag), and `x`, the
xllamacpp module, so that nothing here imports it. Raises ValueError, KeyError or OSError on a word that does not fit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Reader = Callable[[str, Any, Any], Any]
"""(word, the attribute's value so far, xllamacpp) → the attribute's new value."""
MIB = 1024 * 1024


def integer(word: str, so_far: Any, x: Any) -> int:
    return int(word)


def number(word: str, so_far: Any, x: Any) -> float:
    return float(word)


def text(word: str, so_far: Any, x: Any) -> str:
    return word


def content(word: str, so_far: Any, x: Any) -> str:
    return Path(word).read_text(encoding="utf-8")


def folder(word: str, so_far: Any, x: Any) -> str:
    if not Path(word).is_dir():
        raise ValueError(f"not a directory: {word}")
    return word if word.endswith("/") else word + "/"


def _items(word: str) -> list[str]:
    return [item.strip() for item in word.split(",") if item.strip()]


def more(word: str, so_far: Any, x: Any) -> list[str]:
    return [*so_far, *_items(word)]


def one_more(word: str, so_far: Any, x: Any) -> list[str]:
    return [*so_far, word]


def names(word: str, so_far: Any, x: Any) -> set[str]:
    return {*so_far, *_items(word)}


def hosts(word: str, so_far: Any, x: Any) -> list[str]:
    return _items(word)


def threads(word: str, so_far: Any, x: Any) -> int:
    return int(word) if int(word) > 0 else os.cpu_count() or 1


def layers(word: str, so_far: Any, x: Any) -> int:
    return {"auto": -1, "all": -2}.get(word) or int(word)


def truth(word: str, so_far: Any, x: Any) -> bool:
    return {"on": True, "1": True, "true": True, "off": False, "0": False, "false": False}[word]


def mib(word: str, so_far: Any, x: Any) -> int:
    return int(word) * MIB


def mib_per_device(word: str, so_far: Any, x: Any) -> list[int]:
    given = [int(item) * MIB for item in _items(word)]
    return [given[0]] * len(so_far) if len(given) == 1 else [*given, *so_far[len(given) :]]


def shares(word: str, so_far: Any, x: Any) -> list[float]:
    given = [float(item) for item in _items(word)]
    return [*given, *([0.0] * (len(so_far) - len(given)))]


def numbers(word: str, so_far: Any, x: Any) -> list[float]:
    return [float(item) for item in _items(word)]


def inverse(word: str, so_far: Any, x: Any) -> float:
    return 1.0 / float(word)


def adapters(word: str, so_far: Any, x: Any) -> list[Any]:
    return [*so_far, *(x.CommonAdapterLoraInfo(path, 1.0) for path in _items(word))]


def scaled_adapters(word: str, so_far: Any, x: Any) -> list[Any]:
    pairs = [item.rpartition(":") for item in _items(word)]
    return [*so_far, *(x.CommonAdapterLoraInfo(path, float(scale)) for path, _, scale in pairs)]


def keys_of_file(word: str, so_far: Any, x: Any) -> list[str]:
    lines = content(word, so_far, x).splitlines()
    return [*so_far, *(line for line in lines if line and not line.startswith("#"))]


def template_values(word: str, so_far: Any, x: Any) -> dict[str, str]:
    return {**so_far, **{key: json.dumps(value) for key, value in json.loads(word).items()}}


def effort(word: str, so_far: Any, x: Any) -> dict[str, str]:
    kept = {key: value for key, value in so_far.items() if key != "reasoning_effort"}
    return kept if word == "default" else {**kept, "reasoning_effort": json.dumps(word)}


def thinking(word: str, so_far: Any, x: Any) -> Any:
    """`enable_reasoning` becomes 1, 0 or -1 (auto); the template's values say the same."""
    if isinstance(so_far, int):
        return {"on": 1, "off": 0, "auto": -1}[word]
    kept = {key: value for key, value in so_far.items() if key != "enable_thinking"}
    return kept if word == "auto" else {**kept, "enable_thinking": json.dumps(word == "on")}


def rank(word: str, so_far: Any, x: Any) -> Any:
    """`embedding` becomes True, `pooling_type` RANK."""
    return True if isinstance(so_far, bool) else x.llama_pooling_type.LLAMA_POOLING_TYPE_RANK


def grammar(word: str, so_far: Any, x: Any) -> Any:
    return x.CommonGrammar(int(x.common_grammar_type.COMMON_GRAMMAR_TYPE_USER), word)


def choice(enum: str, prefix: str, **other: str) -> Reader:
    """A member of an xllamacpp enum by llama-server's word; `other` where the word is not the member's name."""

    def read(word: str, so_far: Any, x: Any) -> Any:
        return getattr(x, enum)[prefix + other.get(word, word.upper().replace("-", "_").replace("+", "_"))]

    return read


def choices(enum: str, prefix: str) -> Reader:
    one = choice(enum, prefix)
    return lambda word, so_far, x: [one(item, None, x) for item in _items(word)]


def member(enum: str) -> Reader:
    return lambda word, so_far, x: getattr(x, enum)(int(word))

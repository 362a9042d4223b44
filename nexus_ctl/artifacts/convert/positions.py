"""How positions turn queries and keys: the base, and the rule that stretches it, as metadata and tensors of a GGUF.

Called by the conversion with a model's configuration. transformers' rules and llama.cpp's are not the same list: what
has no equal is refused by its key in `config.json`. Source of the rules: transformers, modeling_rope_utils.py; of the
keys and of what is multiplied with what: llama.cpp, src/llama-context.cpp, ggml's rope_yarn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nexus_ctl.artifacts.headers.gguf_bytes import Written

Rule = Mapping[str, Any]
SETTINGS = "rope.scaling"


@dataclass(frozen=True, slots=True)
class Positions:
    """`entries` go under the architecture's name, `tensors` are vectors of numbers by their names."""

    entries: Mapping[str, Written]
    tensors: Mapping[str, Sequence[float]] = field(default_factory=dict)


def rules_of(config: Mapping[str, Any]) -> tuple[Rule, Rule]:
    """The rule of the layers that see everything, and of those that look through a window; the same if one is told."""
    told = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if "full_attention" in told:
        return told["full_attention"], told.get("sliding_attention") or told["full_attention"]
    return told, told


_SAME = {"su": "longrope", "mrope": "default"}
"""Older names; sections of a head, each with a count of its own, are no rule that scales."""


def kind_of(rule: Rule) -> str:
    """The name of a rule, as today's files call it."""
    name = rule.get("rope_type") or rule.get("type") or "default"
    return _SAME.get(name, str(name))


def base_of(config: Mapping[str, Any], rule: Rule, usual: float) -> float:
    """The base of the turning; `usual` is what the model's class takes when nothing is said."""
    return float(rule.get("rope_theta") or config.get("rope_theta") or usual)


def sections(config: Mapping[str, Any]) -> list[int]:
    """How many pairs of a head are turned by the time, the height and the width of a patch; in texts, all alike.

    Raises ValueError unless they make up a head.
    """
    told = rules_of(config)[0].get("mrope_section")
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    if not isinstance(told, list) or len(told) != 3 or any(type(one) is not int or one < 0 for one in told):
        raise ValueError(f"config.json: mrope_section is {told}, not three whole numbers")
    if sum(told) * 2 != size:
        raise ValueError(f"config.json: mrope_section counts {sum(told)} pairs, a head has {size} numbers")
    return [*told, 0]


def rotated(config: Mapping[str, Any], rule: Rule, head_size: int) -> int:
    """How many numbers of a head turn."""
    part = rule.get("partial_rotary_factor", config.get("partial_rotary_factor", config.get("rotary_pct")))
    return head_size if part is None else int(head_size * part)


def scaled(config: Mapping[str, Any], rule: Rule, size: int, base: float, known: frozenset[str]) -> Positions:
    """What stretches the positions. `size`: numbers of a head that turn; `known`: the rules that llama.cpp applies to
    this architecture. Raises ValueError for another rule, naming its key."""
    kind = kind_of(rule)
    if kind == "default":
        return Positions({})
    if kind not in known:
        told = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
        raise ValueError(
            f"config.json: {told}.rope_type is {kind!r}, which llama.cpp does not apply to this architecture"
        )
    return _RULES[kind](config, rule, size, base)


def _linear(config: Mapping[str, Any], rule: Rule, size: int, base: float) -> Positions:
    return Positions({f"{SETTINGS}.type": "linear", f"{SETTINGS}.factor": float(rule["factor"])})


def _yarn(config: Mapping[str, Any], rule: Rule, size: int, base: float) -> Positions:
    """llama.cpp multiplies by 0.1 ln(factor) + 1 on its own; what is written is what comes on top of that."""
    if odd := [key for key in ("mscale", "mscale_all_dim") if rule.get(key)] or ["truncate"] * (
        rule.get("truncate") is False
    ):
        raise ValueError(f"config.json: {odd[0]} of the rule yarn, which llama.cpp does not have for this architecture")
    factor, original = float(rule["factor"]), _original(config, rule)
    found: dict[str, Written] = {
        f"{SETTINGS}.type": "yarn",
        f"{SETTINGS}.factor": factor,
        f"{SETTINGS}.original_context_length": original,
        f"{SETTINGS}.yarn_beta_fast": float(rule.get("beta_fast") or 32),
        f"{SETTINGS}.yarn_beta_slow": float(rule.get("beta_slow") or 1),
    }
    if (attention := rule.get("attention_factor")) is not None:
        found[f"{SETTINGS}.attn_factor"] = float(attention) / (0.1 * math.log(factor) + 1)
    return Positions(found)


def _llama3(config: Mapping[str, Any], rule: Rule, size: int, base: float) -> Positions:
    """Long waves are stretched by the factor, short ones stay, those between go over smoothly."""
    factor, low, high = float(rule["factor"]), float(rule["low_freq_factor"]), float(rule["high_freq_factor"])
    original = _original(config, rule)

    def divisor(pair: int) -> float:
        waves: float = original * base ** (-2 * pair / size) / (2 * math.pi)
        if waves > high:
            return 1.0
        if waves < low:
            return factor
        smooth = (waves - low) / (high - low)
        return 1 / ((1 - smooth) / factor + smooth)

    return Positions({}, {"rope_freqs.weight": [divisor(pair) for pair in range(size // 2)]})


def _longrope(config: Mapping[str, Any], rule: Rule, size: int, base: float) -> Positions:
    """Two lists of divisors; llama.cpp takes the long one where the context is longer than the original one."""
    lists = {name: [float(one) for one in rule[f"{name}_factor"]] for name in ("long", "short")}
    if any(len(numbers) != size // 2 for numbers in lists.values()):
        raise ValueError(f"config.json: long_factor and short_factor must have {size // 2} numbers each")
    original = _original(config, rule)
    factor = config["max_position_embeddings"] / original
    attention = rule.get("attention_factor")
    if attention is None:
        attention = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return Positions(
        {
            f"{SETTINGS}.type": "longrope",
            f"{SETTINGS}.original_context_length": original,
            f"{SETTINGS}.attn_factor": float(attention),
        },
        {f"rope_factors_{name}.weight": numbers for name, numbers in lists.items()},
    )


def _original(config: Mapping[str, Any], rule: Rule) -> int:
    """The context that the model had before."""
    key = "original_max_position_embeddings"
    return int(rule.get(key) or config.get(key) or config["max_position_embeddings"])


_RULES = {"linear": _linear, "yarn": _yarn, "llama3": _llama3, "longrope": _longrope}

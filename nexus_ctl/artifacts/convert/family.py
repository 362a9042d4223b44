"""One row of the table of `architectures`, and what its cells are made of: keys, and conditions on a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nexus_ctl.artifacts.headers.gguf_bytes import Written

Config = Mapping[str, Any]
Key = Callable[[Config], Written]
"""A value of the result out of the configuration. Raises ValueError where it lacks."""
Condition = Callable[[Config], str]
"""What is wrong with a configuration; "" when nothing is."""


@dataclass(frozen=True, slots=True)
class Family:
    """A row. `inner` names the parts of a layer; two names: the rows are halved, the first half goes to the first.

    `turned`: rows of queries and keys are put into llama.cpp's order. `norm_plus` is added to every norm. `base` and
    `scalings`: see `positions`; `local_base` is the usual base of layers with a window, 0 where they have no own.
    `output`: llama.cpp wants the output's matrix even where it is the embedding's, which `tied` says for a
    configuration that does not.
    """

    architecture: str
    inner: Mapping[str, str]
    keys: Mapping[str, Key]
    conditions: tuple[Condition, ...] = ()
    turned: bool = False
    norm_plus: float = 0.0
    base: float = 10_000.0
    local_base: float = 0.0
    scalings: frozenset[str] = frozenset({"linear", "yarn"})
    output: bool = False
    tied: bool = False


def whole(*names: str, usual: int | None = None) -> Key:
    """A whole number by the first of these names that is there."""

    def found(config: Config) -> Written:
        return int(_first(config, names, usual))

    return found


def real(*names: str, usual: float | None = None) -> Key:
    """The same of a fraction."""

    def found(config: Config) -> Written:
        return float(_first(config, names, usual))

    return found


def _first(config: Config, names: tuple[str, ...], usual: float | None) -> Any:
    for name in names:
        if config.get(name) is not None:
            return config[name]
    if usual is None:
        raise ValueError(f"config.json: {names[0]} is missing")
    return usual


def experts_of(config: Config) -> int:
    """How many experts a layer has; 0 in a model without."""
    return int(_first(config, ("num_local_experts", "num_experts"), 0))


def only(name: str, *allowed: Any) -> Condition:
    """The value of this key is one of these; None among them: or it is left out."""

    def check(config: Config) -> str:
        value = config.get(name)
        if value in allowed:
            return ""
        return f"config.json: {name} is {value!r}, llama.cpp computes this architecture otherwise"

    return check


def layer_kinds(period: int) -> Condition:
    """Every `period`-th layer sees everything, the others look through a window."""

    def check(config: Config) -> str:
        told = config.get("layer_types") or []
        wanted = ["full_attention" if (at + 1) % period == 0 else "sliding_attention" for at in range(len(told))]
        return "" if told == wanted else f"config.json: layer_types has another order than llama.cpp's, one of {period}"

    return check

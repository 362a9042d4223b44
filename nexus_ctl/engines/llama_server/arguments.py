"""Every argument that llama-server takes, as values: spellings, type, allowed values, environment variable.

Read once from `llama_server_args.csv` beside this package. Asked by `engines/llama_cpp.py` when it checks raw `args`
and by the stand-in when it reads its command line. The rule: nothing here depends on which build runs.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

SPELLING = re.compile(r"(?:^|, )(-[-\w.]+)")
TRUE_WORDS = frozenset({"on", "enabled", "true", "1"})
"""What an environment variable says for a flag to be there. Source: llama.cpp, common/arg.cpp, is_truthy."""
RANGE = re.compile(r"(-?\d+)\.\.\.(-?\d+)")


class Kind(StrEnum):
    """What follows the flag."""

    FLAG = "flag"
    """Nothing; only its presence counts."""
    SWITCH = "bool (paired)"
    """Nothing; it has a spelling for on and one for off."""
    INTEGER = "int"
    NUMBER = "float"
    TEXT = "string"
    PATH = "path"
    JSON = "json"
    LIST = "list"
    CHOICE = "enum"
    LAYERS = "int or auto or all"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument. `names` says it, `off_names` (switches only) says its opposite; both with dashes, all spellings.

    `allowed` holds the values a CHOICE takes, `at_least` and `at_most` a range. `words` is how many values follow.
    `gone` holds llama-server's advice where the argument was removed.
    """

    names: tuple[str, ...]
    off_names: tuple[str, ...]
    kind: Kind
    env: str
    default: str
    doc: str
    words: int
    allowed: tuple[str, ...] = ()
    at_least: int | None = None
    at_most: int | None = None
    gone: str = ""

    @property
    def name(self) -> str:
        """The first long spelling, with dashes."""
        return next((name for name in self.names if name.startswith("--")), self.names[0])

    @property
    def off_name(self) -> str:
        """The first long spelling of the opposite; empty where there is none."""
        return next((name for name in self.off_names if name.startswith("--")), "")


@cache
def arguments() -> tuple[Argument, ...]:
    """All of them, in llama-server's groups."""
    text = files("nexus_ctl.engines").joinpath("llama_server_args.csv").read_text(encoding="utf-8")
    return tuple(_argument(row) for row in csv.DictReader(text.splitlines()))


@cache
def by_spelling() -> Mapping[str, Argument]:
    """Each spelling, with dashes, on and off alike."""
    return {name: argument for argument in arguments() for name in (*argument.names, *argument.off_names)}


def _argument(row: Mapping[str, str]) -> Argument:
    spellings = SPELLING.findall(row["flags"])
    kind = Kind.LAYERS if (row["type"], row["default"]) == ("int", "auto") else Kind(row["type"])
    off = [name for name in spellings if kind is Kind.SWITCH and name.lstrip("-").startswith("n")]
    between = RANGE.fullmatch(row["allowed_values"])
    choices = () if between else tuple(value.strip() for value in row["allowed_values"].split(",") if value.strip())
    removed = row["group"].startswith("9 ")
    return Argument(
        names=tuple(name for name in spellings if name not in off),
        off_names=tuple(off),
        kind=kind,
        env=row["env"],
        default=row["default"],
        doc=row["description"],
        words=0 if kind in (Kind.FLAG, Kind.SWITCH) else 2 if row["flags"].endswith(" START END") else 1,
        allowed=choices,
        at_least=int(between[1]) if between else None,
        at_most=int(between[2]) if between else None,
        gone=row["description"].removeprefix("gone: ") if removed else "",
    )

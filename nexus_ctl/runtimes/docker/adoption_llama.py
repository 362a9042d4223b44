"""llama-server's command line, as somebody wrote it → the fields of a Deployment, and the files it loads beside.

Called by `adoption`. Pure. The rule: what a field declares becomes that field, other known flags become raw `args`, and
what nexusctl sets itself is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nexus_ctl.engines.flags import declarable
from nexus_ctl.engines.llama_cpp_args import OURS
from nexus_ctl.engines.llama_server.arguments import TRUE_WORDS, Argument, Kind, arguments, by_spelling
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.llama_cpp import LlamaCpp

LISTS: Mapping[str, tuple[str, type]] = {
    "tensorSplit": (",", float),
    "devices": (",", str),
    "corsOrigins": (",", str),
    "samplers": (";", str),
}
"""Fields that hold lists: what joins the items in a word, and their type."""
ADDING = frozenset({"--lora", "--lora-scaled"})
"""Flags that add to what was said before."""
SAYS_NOTHING = frozenset({"--seed", "--predict"})
"""Flags whose default is a value that no field takes, because leaving the field out says it."""
COMPANIONS = frozenset({"--spec-draft-model", "--spec-type", "--lora", "--lora-scaled", "--mmproj"})


def llama_flags(variables: Iterable[tuple[str, str]], words: Sequence[str]) -> dict[str, Any]:
    """The flags by first long spelling, from variables and then from words, which win. A switch that is off is False.

    Raises Terminal for a word that is no flag of llama-server.
    """
    by_variable = {argument.env: argument for argument in arguments() if argument.env}
    given = ((by_variable[name], value) for name, value in variables if name in by_variable)
    from_variables = ((argument.name, _from_variable(argument, value)) for argument, value in given)
    found = {name: value for name, value in from_variables if value is not None}
    for name, value in _from_words(words):
        found[name] = f"{found[name]},{value}" if name in ADDING and name in found else value
    return {
        name: value
        for name, value in found.items()
        if name not in SAYS_NOTHING or str(value) != by_spelling()[name].default
    }


def llama_companions(given: Mapping[str, Any], name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The fields of draft, adapters and projector, and the path in the container of each Model that they name."""
    fields: dict[str, Any] = {}
    paths: dict[str, str] = {}
    method = str(given.get("--spec-type", "")).removeprefix("draft-")
    if "--spec-draft-model" in given or method == "mtp":
        fields["draft"] = {"method": method} if method not in ("", "simple") else {}
    if "--spec-draft-model" in given:
        fields["draft"]["model"] = f"{name}-draft"
        paths[f"{name}-draft"] = given["--spec-draft-model"]
    plain = [(path, "1") for path in str(given.get("--lora", "")).split(",") if path]
    scaled = [path.rpartition(":")[::2] for path in str(given.get("--lora-scaled", "")).split(",") if path]
    for at, (path, scale) in enumerate((*plain, *scaled)):
        adapter: dict[str, Any] = {"model": f"{name}-adapter-{at}"}
        fields.setdefault("adapters", []).append(adapter | ({"scale": float(scale)} if float(scale) != 1 else {}))
        paths[f"{name}-adapter-{at}"] = path
    if "--mmproj" in given:
        fields["projector"] = {"model": f"{name}-projector"}
        paths[f"{name}-projector"] = given["--mmproj"]
    return fields, paths


def llama_fields(given: Mapping[str, Any], companions: Mapping[str, Any]) -> dict[str, Any]:
    """The flags as fields, the others as raw `args`."""
    canonical = {by_spelling()[flag].name: path.split(".")[1:] for flag, path in declarable(LlamaCpp, "").items()}
    fields: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    for name, value in given.items():
        if name in OURS or (name in COMPANIONS and not (name == "--spec-type" and "draft" not in companions)):
            continue
        if name not in canonical:
            raw[name.removeprefix("--")] = value
            continue
        place = fields
        *groups, leaf = canonical[name]
        if groups and groups[0] in ("draft", "projector") and groups[0] not in companions:
            continue  # it says nothing without the model it is about
        for group in groups:
            place = place.setdefault(group, {})
        joint, kind = LISTS.get(leaf, ("", str))
        place[leaf] = [kind(part) for part in str(value).split(joint)] if joint else value
    for group, declared in companions.items():
        fields[group] = declared | fields.get(group, {}) if isinstance(declared, dict) else declared
    return fields | ({"args": raw} if raw else {})


def _from_words(words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    rest = iter(words)
    for word in rest:
        spelling, given, value = word.partition("=") if word.startswith("--") else (word, "", "")
        argument = by_spelling().get(spelling)
        if argument is None or argument.words > 1:
            raise Terminal(f"{word!r} of llama-server cannot be declared")
        if argument.words == 0:
            yield argument.name, spelling not in argument.off_names
        else:
            yield argument.name, _typed(argument, value if given else next(rest, ""))


def _from_variable(argument: Argument, value: str) -> Any:
    """The flag's value; None where the variable leaves it out."""
    if argument.words:
        return _typed(argument, value)
    on = value.lower() in TRUE_WORDS
    return on if on or argument.kind is Kind.SWITCH else None


def _typed(argument: Argument, word: str) -> Any:
    if argument.kind in (Kind.INTEGER, Kind.LAYERS) and re.fullmatch(r"-?\d+", word):
        return int(word)
    return float(word) if argument.kind is Kind.NUMBER else word

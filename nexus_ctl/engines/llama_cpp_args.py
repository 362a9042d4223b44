"""Raw `args` of llama.cpp, and its environment variables, held against llama-server's argument table.

Called by `llama_cpp.check`. The rule: what a field declares or nexusctl sets itself has one place only, and everything
else must be something that llama-server takes, with a value it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from nexus_ctl.engines.fault import Fault
from nexus_ctl.engines.llama_server.arguments import Argument, Kind, arguments, by_spelling

Value = str | int | float | bool

OURS: Mapping[str, str] = {
    "--model": "the Model gives the file",
    "--alias": "the Route gives the public names",
    "--host": "the runtime gives the address",
    "--port": "the runtime gives the address",
    "--reuse-port": "two replicas would answer on one address",
    "--api-prefix": "probes and the gateway call the engine's own paths",
    "--api-key": "the gateway must know the key; declare server.apiKey, by reference",
    "--api-key-file": "the gateway must know the key; declare server.apiKey, by reference",
    "--ssl-key-file": "the gateway calls the engine in clear on its own address",
    "--ssl-cert-file": "the gateway calls the engine in clear on its own address",
    "--log-file": "the runtime keeps the log",
    "--log-disable": "the log is the engine's sign of life",
    "--slot-save-path": "a replica keeps nothing: its files are read-only and go with it",
    "--chat-template-file": "write server.chatTemplate: ${file:PATH}, so that the file's content counts",
    "--lora-init-without-apply": "an adapter with scale: 0 waits for requests that ask for it",
    "--hf-token": "a command line is no place for a secret; give it to the Model's source",
    **dict.fromkeys(
        ("--model-url", "--docker-repo", "--hf-repo", "--hf-file", "--spec-draft-hf", "--mmproj-url", "--mmproj-auto"),
        "engines download nothing; declare a Model with that source",
    ),
    **dict.fromkeys(
        ("--models-dir", "--models-preset", "--models-max", "--models-autoload"),
        "an engine serves one model; the gateway does the routing",
    ),
    **dict.fromkeys(
        ("--help", "--version", "--cache-list", "--list-devices", "--completion-bash"), "the engine would end at once"
    ),
}
"""What nexusctl decides itself, and why it cannot be declared."""

RISKY = ("--tools", "--agent", "--ui-mcp-proxy", "--mcp-servers-config", "--mcp-servers-json", "--tools-runtime")
"""They let whoever reaches the engine run commands or reach other addresses."""


def check_args(args: Mapping[str, Value], path: str, declared: Mapping[str, str]) -> Iterator[Fault]:
    """Faults of the raw arguments. `declared` is flag → path of the field that renders it."""
    fields = {by_spelling()[flag].name: field for flag, field in declared.items() if flag in by_spelling()}
    seen: dict[str, str] = {}
    for name, value in args.items():
        at = f"{path}.{name}"
        argument = by_spelling().get(f"--{name.lstrip('-')}")
        if argument is None or name.startswith("-"):
            yield _unknown(name, at)
            continue
        if fault := _taken(argument, at, fields) or _doubled(argument, name, at, seen):
            yield fault
            continue
        seen[argument.name] = name
        words = _wrong_value(argument, f"--{name}" in argument.off_names, value)
        if words:
            yield Fault(at, "invalid-flag-value", f"--{name} {words}", _expects(argument))
        if argument.kind is Kind.PATH and not words:
            said = f"--{name} names {value}, and only declared Models are mounted into a container"
            hint = "declare a Model and refer to it, or put the file into the image"
            yield Fault(at, "path-not-mounted", said, hint, "warning")
        if argument.name in RISKY:
            words = f"--{name} lets whoever reaches the engine run commands or reach other addresses"
            yield Fault(at, "risky-flag", words, "keep the engine on loopback", "warning")


def check_env(env: Mapping[str, object], path: str, declared: Mapping[str, str]) -> Iterator[Fault]:
    """Faults of environment variables that llama-server reads as arguments."""
    fields = {by_spelling()[flag].name: field for flag, field in declared.items() if flag in by_spelling()}
    by_variable = {argument.env: argument for argument in arguments() if argument.env}
    for name in env:
        if argument := by_variable.get(name):
            hint = f"declare it as {fields.get(argument.name) or 'args.' + argument.name.lstrip('-')}"
            words = f"{name} sets {argument.name} behind the declared arguments"
            yield Fault(f"{path}.{name}", "flag-by-environment", words, OURS.get(argument.name, hint))


def _unknown(name: str, at: str) -> Fault:
    plain = name.lstrip("-")
    longs = [spelling[2:] for spelling in by_spelling() if spelling.startswith("--")]
    if plain in longs:
        return Fault(at, "unknown-flag", f"write {plain} without dashes", f"{plain}: ...")
    short = by_spelling().get(f"-{plain}")
    near = [short.name[2:]] if short else get_close_matches(plain, longs, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see llama-server --help"
    return Fault(at, "unknown-flag", f"llama-server has no argument --{plain}", hint)


def _taken(argument: Argument, at: str, fields: Mapping[str, str]) -> Fault | None:
    if argument.gone:
        return Fault(at, "removed-flag", f"llama-server no longer takes {argument.name}", argument.gone)
    if argument.name in fields:
        words = f"{argument.name} is declared by a field of its own"
        return Fault(at, "flag-has-a-field", words, f"use {fields[argument.name]}")
    if argument.name in OURS:
        return Fault(at, "flag-is-ours", f"nexusctl decides {argument.name}: {OURS[argument.name]}", "leave it out")
    return None


def _doubled(argument: Argument, name: str, at: str, seen: Mapping[str, str]) -> Fault | None:
    if argument.name not in seen:
        return None
    return Fault(at, "flag-given-twice", f"{name} and {seen[argument.name]} are the same argument", "keep one")


def _wrong_value(argument: Argument, is_off_name: bool, value: Value) -> str:
    """What is wrong with the value; empty when nothing is."""
    match argument.kind:
        case Kind.FLAG:
            return "" if value is True else "is a bare flag; it is there (true) or left out"
        case Kind.SWITCH:
            allowed = (True,) if is_off_name else (True, False)
            return "" if isinstance(value, bool) and value in allowed else "takes no value; give true or false"
        case _ if isinstance(value, bool):
            return "needs a value"
        case _ if argument.words > 1:
            return "takes two values, which args cannot hold"
        case Kind.INTEGER | Kind.NUMBER | Kind.LAYERS | Kind.CHOICE:
            return _wrong_word(argument, value)
    return ""


def _wrong_word(argument: Argument, value: str | int | float) -> str:
    if argument.kind is Kind.CHOICE:
        known = not argument.allowed or str(value) in argument.allowed
        return "" if known else f"is none of {', '.join(argument.allowed)}: {value!r}"
    if argument.kind is Kind.LAYERS and value in ("auto", "all"):
        return ""
    try:
        number = float(value)
    except ValueError:
        return f"is not a number: {value!r}"
    if argument.kind is not Kind.NUMBER and not number.is_integer():
        return f"is not a whole number: {value!r}"
    low, high = argument.at_least, argument.at_most
    if (low is not None and number < low) or (high is not None and number > high):
        return f"is not between {low} and {high}: {value!r}"
    return ""


def _expects(argument: Argument) -> str:
    if argument.allowed:
        return f"one of {', '.join(argument.allowed)} (quote on and off)"
    return f"{argument.doc}; a value of type {argument.kind.value}" if argument.words else argument.doc

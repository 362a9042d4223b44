"""A container that somebody else made → the manifests that would make it: the read side of `import docker/NAME`.

Pure; takes what the engine tells (`inspect` of the container and of its image). The rule: nothing is guessed. What a
field declares becomes that field, other known flags become raw `args`, and what nexusctl sets itself is left out
(`left_out.py` says so). A variable that llama-server reads as a flag becomes what the flag becomes; one whose name
smells of a secret becomes a reference to the environment, and its value goes nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from nexus_ctl.engines.flags import flags
from nexus_ctl.engines.llama_cpp_args import OURS
from nexus_ctl.engines.llama_server.arguments import Argument, Kind, arguments, by_spelling
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.llama_cpp import LlamaCpp
from nexus_ctl.resources.quantity import format_bytes_exact
from nexus_ctl.runtimes.docker.observation import limits_of

API_VERSION = "nexus/v1"
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|PRIVATE_?KEY", re.IGNORECASE)
DEFAULT_SHM_BYTES = 64 << 20
DEFAULT_PORT = 8080
TRUE_WORDS = frozenset({"on", "enabled", "true", "1"})
"""Source: llama.cpp, common/arg.cpp, is_truthy."""


def manifests_from_inspect(inspect: Mapping[str, Any], image: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """A Model and a Deployment, as plain documents in the order to write them.

    Raises Terminal where no model file of this machine can be found behind the command line.
    """
    name = re.sub(r"[^a-z0-9-]+", "-", inspect["Name"].lower()).strip("-")
    words = command(inspect)
    mounts = {mount["Destination"]: mount["Source"] for mount in inspect.get("Mounts") or ()}
    is_llama = runs_llama_server(inspect)
    if is_llama:
        given = given_flags(inspect, image)
        inside = given.get("--model", "")
        engine = {"llamaCpp": {"image": inspect["Config"]["Image"], **_llama_fields(given)}}
    else:
        inside = next((word for word in words for target in mounts if _within(word, target)), "")
        engine = {"custom": _custom(inspect, words, inside)}
    source = next((mounts[t] + inside.removeprefix(t) for t in sorted(mounts, reverse=True) if _within(inside, t)), "")
    if not source:
        raise Terminal(f"{inspect['Name']}: no file of this machine is mounted where it reads its model ({inside!r})")
    spec: dict[str, Any] = {"model": f"{name}-model", "engine": engine}
    for key, value in (("env", _env(inspect, image, is_llama)), ("resources", _resources(inspect["HostConfig"]))):
        spec |= {key: value} if value else {}
    spec |= {"container": value} if (value := _container(inspect)) else {}
    return (
        _document("Model", f"{name}-model", {"source": {"path": source}}),
        _document("Deployment", name, spec),
    )


def command(inspect: Mapping[str, Any]) -> list[str]:
    """The words that the container runs."""
    return [*(inspect["Config"].get("Entrypoint") or ()), *(inspect["Config"].get("Cmd") or ())]


def runs_llama_server(inspect: Mapping[str, Any]) -> bool:
    """Whether its program is llama.cpp's server, wherever in the image it lies."""
    return [PurePosixPath(word).name for word in command(inspect)[:1]] == ["llama-server"]


def given_flags(inspect: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """llama-server's flags by first long spelling, from its variables and then from its words, which win.

    A switch that is off is False. Raises Terminal for a word that is no flag of llama-server.
    """
    by_variable = {argument.env: argument for argument in arguments() if argument.env}
    variables = ((by_variable[name], value) for name, value in set_variables(inspect, image) if name in by_variable)
    found = {argument.name: _from_variable(argument, value) for argument, value in variables}
    return {name: value for name, value in found.items() if value is not None} | dict(
        _llama_flags(command(inspect)[1:])
    )


def set_variables(inspect: Mapping[str, Any], image: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of what was set beyond the image's own variables, sorted."""
    own = set((image.get("Config") or {}).get("Env") or ())
    pairs = (word.partition("=") for word in inspect["Config"].get("Env") or () if word not in own)
    return sorted((name, value) for name, _, value in pairs)


def is_secret(name: str) -> bool:
    """Whether a variable's name smells of a secret."""
    return SECRET.search(name) is not None


def _document(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}


def _within(path: str, folder: str) -> bool:
    return bool(path) and PurePosixPath(path).is_relative_to(folder)


def _llama_flags(words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """(first long spelling, value) of each flag; a switch's off spelling is False. Other words: Terminal."""
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


def _llama_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags as fields, the others as raw `args`."""
    canonical = {
        by_spelling()[flag.name or flag.off].name: path.split(".")[1:] for path, flag, _ in flags(LlamaCpp(), "")
    }
    fields: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    for name, value in given.items():
        if name in OURS:
            continue
        if name not in canonical:
            raw[name.removeprefix("--")] = value
            continue
        place = fields
        *groups, leaf = canonical[name]
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = [float(part) for part in str(value).split(",")] if leaf == "tensorSplit" else value
    return fields | ({"args": raw} if raw else {})


def _custom(inspect: Mapping[str, Any], words: Sequence[str], inside: str) -> dict[str, Any]:
    ports = [
        int(port.partition("/")[0]) for port, bound in (inspect["HostConfig"]["PortBindings"] or {}).items() if bound
    ]
    command = [word.replace(inside, "{model}") if inside else word for word in words]
    return {"image": inspect["Config"]["Image"], "command": command, "port": (ports or [DEFAULT_PORT])[0]}


def _env(inspect: Mapping[str, Any], image: Mapping[str, Any], is_llama: bool) -> dict[str, Any]:
    """What was set beyond the image's own variables, less those that llama-server reads as flags."""
    flags = {argument.env for argument in arguments()} if is_llama else set()
    pairs = [(name, value) for name, value in set_variables(inspect, image) if name not in flags]
    return {name: {"valueFrom": {"env": name}} if is_secret(name) else {"value": value} for name, value in pairs}


def _resources(host: Mapping[str, Any]) -> dict[str, Any]:
    limits = limits_of(host)
    found: dict[str, Any] = {}
    if limits.cpu_cores is not None:
        found["cpu"] = limits.cpu_cores
    if limits.memory_bytes is not None:
        found["memory"] = format_bytes_exact(limits.memory_bytes)
    for request in (host.get("DeviceRequests") or ())[:1]:
        ids, count = request.get("DeviceIDs"), request.get("Count")
        found["gpus"] = {"ids": list(ids)} if ids else {"count": "all" if count == -1 else count}
    return found


def _container(inspect: Mapping[str, Any]) -> dict[str, Any]:
    """Where it differs from what nexusctl does by default, and a manifest can say so."""
    host = inspect["HostConfig"]
    found: dict[str, Any] = {}
    if not host.get("ReadonlyRootfs"):
        found["readOnlyRoot"] = False
    if re.fullmatch(r"\d+(:\d+)?", inspect["Config"].get("User") or ""):
        found["user"] = inspect["Config"]["User"]
    if host.get("ShmSize") not in (None, DEFAULT_SHM_BYTES):
        found["shmSize"] = format_bytes_exact(host["ShmSize"])
    if host.get("Ulimits"):
        found["ulimits"] = {limit["Name"]: limit["Soft"] for limit in host["Ulimits"]}
    return found

"""A container that somebody else made → the manifests that would make it: the read side of `import docker/NAME`.

Pure; takes what the engine tells (`inspect` of the container and of its image). The rule: nothing is guessed. What a
field declares becomes that field, other known flags become raw `args`, and what nexusctl sets itself is left out
(`left_out.py` says so). A variable that llama-server reads as a flag becomes what the flag becomes; one whose name
smells of a secret becomes a reference to the environment, and its value goes nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from nexus_ctl.engines.llama_server.arguments import arguments
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.envelope import ADOPT, API_VERSION
from nexus_ctl.resources.quantity import format_bytes_exact
from nexus_ctl.runtimes.docker.adoption_llama import llama_companions, llama_fields, llama_flags
from nexus_ctl.runtimes.docker.observation import limits_of

SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|PRIVATE_?KEY", re.IGNORECASE)
DEFAULT_SHM_BYTES = 64 << 20
DEFAULT_PORT = 8080


def manifests_from_inspect(inspect: Mapping[str, Any], image: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The Models and the Deployment, as plain documents in the order to write them.

    Raises Terminal where no model file of this machine can be found behind a path of the command line.
    """
    name = re.sub(r"[^a-z0-9-]+", "-", inspect["Name"].lower()).strip("-")
    words = command(inspect)
    mounts = {mount["Destination"]: mount["Source"] for mount in inspect.get("Mounts") or ()}
    is_llama = runs_llama_server(inspect)
    beside: dict[str, str] = {}
    if is_llama:
        given = given_flags(inspect, image)
        inside = given.get("--model", "")
        companions, beside = llama_companions(given, name)
        engine = {"llamaCpp": {"image": inspect["Config"]["Image"], **llama_fields(given, companions)}}
    else:
        inside = next((word for word in words for target in mounts if _within(word, target)), "")
        engine = {"custom": _custom(inspect, words, inside)}
    sources = {model: _source(path, mounts, inspect) for model, path in {f"{name}-model": inside, **beside}.items()}
    spec: dict[str, Any] = {"model": f"{name}-model", "engine": engine}
    for key, value in (("env", _env(inspect, image, is_llama)), ("resources", _resources(inspect["HostConfig"]))):
        spec |= {key: value} if value else {}
    spec |= {"container": value} if (value := _container(inspect)) else {}
    return (
        *(_document("Model", model, {"source": {"path": source}}) for model, source in sources.items()),
        _document("Deployment", name, spec, {ADOPT: inspect["Name"].removeprefix("/")}),
    )


def command(inspect: Mapping[str, Any]) -> list[str]:
    """The words that the container runs."""
    return [*(inspect["Config"].get("Entrypoint") or ()), *(inspect["Config"].get("Cmd") or ())]


def runs_llama_server(inspect: Mapping[str, Any]) -> bool:
    """Whether its program is llama.cpp's server, wherever in the image it lies."""
    return [PurePosixPath(word).name for word in command(inspect)[:1]] == ["llama-server"]


def given_flags(inspect: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """llama-server's flags by first long spelling, from its variables and then from its words, which win."""
    return llama_flags(set_variables(inspect, image), command(inspect)[1:])


def set_variables(inspect: Mapping[str, Any], image: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of what was set beyond the image's own variables, sorted."""
    own = set((image.get("Config") or {}).get("Env") or ())
    pairs = (word.partition("=") for word in inspect["Config"].get("Env") or () if word not in own)
    return sorted((name, value) for name, _, value in pairs)


def is_secret(name: str) -> bool:
    """Whether a variable's name smells of a secret."""
    return SECRET.search(name) is not None


def _document(
    kind: str, name: str, spec: Mapping[str, Any], annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    metadata = {"name": name, **({"annotations": dict(annotations)} if annotations else {})}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": dict(spec)}


def _source(inside: str, mounts: Mapping[str, str], inspect: Mapping[str, Any]) -> str:
    """The file of this machine that lies at a path of the container."""
    found = next((mounts[t] + inside.removeprefix(t) for t in sorted(mounts, reverse=True) if _within(inside, t)), "")
    if not found:
        raise Terminal(f"{inspect['Name']}: no file of this machine is mounted where it reads its model ({inside!r})")
    return found


def _within(path: str, folder: str) -> bool:
    return bool(path) and PurePosixPath(path).is_relative_to(folder)


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

"""What a manifest made from somebody's container does not say, and why: the notes beside `import docker/NAME`.

Pure; takes what the engine tells, as `adoption.py` does. The rule: nothing that the container was given disappears
without a word, and no value that may be secret is in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nexus_ctl.engines.llama_cpp_args import OURS
from nexus_ctl.runtimes.docker.adoption import command, given_flags, is_secret, runs_llama_server, set_variables
from nexus_ctl.runtimes.docker.adoption_llama import llama_companions

FROM_ELSEWHERE = frozenset({"--model", "--host", "--port", "--alias"})
"""Flags of ours that come back by themselves, or that have a note of their own."""
HOST_FACTS: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("Privileged", (False, None), "a privileged container: nexusctl's gain no privileges"),
    ("CapAdd", ([], None), "added capabilities: nexusctl's containers have none"),
    ("Devices", ([], None), "devices of the host: GPUs are given by resources.gpus"),
    ("NetworkMode", ("default", "bridge", "", None), "its network: nexusctl makes one for each stack"),
    ("IpcMode", ("private", "shareable", "", None), "its IPC mode: container.shmSize gives shared memory"),
    ("VolumesFrom", ([], None), "volumes of another container"),
)
"""Key of HostConfig, the values that say nothing, and what to say of any other."""


def left_out(inspect: Mapping[str, Any], image: Mapping[str, Any]) -> tuple[str, ...]:
    """One sentence for each thing; raises what `manifests_from_inspect` raises."""
    flags = given_flags(inspect, image) if runs_llama_server(inspect) else {}
    return (
        *_ports(inspect),
        *_mounts(inspect, flags),
        *_host(inspect["HostConfig"]),
        *_flags(flags, runs_llama_server(inspect)),
        *_secrets(inspect, image),
    )


def _ports(inspect: Mapping[str, Any]) -> Iterator[str]:
    for port, bindings in sorted((inspect["HostConfig"].get("PortBindings") or {}).items()):
        for binding in bindings or ():
            where = f"{binding.get('HostIp') or '0.0.0.0'}:{binding.get('HostPort') or '(any)'}"
            yield f"its port {where} -> {port}: clients ask the gateway, by the name of a Route"


def _mounts(inspect: Mapping[str, Any], flags: Mapping[str, Any]) -> Iterator[str]:
    words = (
        [str(flags["--model"]), *llama_companions(flags, "")[1].values()] if "--model" in flags else command(inspect)
    )
    for mount in inspect.get("Mounts") or ():
        target = mount["Destination"]
        if not any(word == target or word.startswith(target.rstrip("/") + "/") for word in words):
            yield f"its mount {mount.get('Source') or mount.get('Name', '')} -> {target}: only models are mounted"


def _host(host: Mapping[str, Any]) -> Iterator[str]:
    yield from (words for key, empty, words in HOST_FACTS if host.get(key) not in empty)
    policy = (host.get("RestartPolicy") or {}).get("Name") or "no"
    if policy != "no":
        yield f"its restart policy {policy}: nexusctl heals"


def _flags(flags: Mapping[str, Any], is_llama: bool) -> Iterator[str]:
    if "--alias" in flags:
        yield f"its model name {flags['--alias']!r}: declare a Route with that name"
    for name in sorted(flags.keys() & OURS.keys() - FROM_ELSEWHERE):
        yield f"{name}: {OURS[name]}"
    if is_llama and "--parallel" not in flags:
        yield "its number of slots, which llama-server chose itself: the manifest says 1 by saying nothing"


def _secrets(inspect: Mapping[str, Any], image: Mapping[str, Any]) -> Iterator[str]:
    for name, _ in set_variables(inspect, image):
        if is_secret(name) and not name.startswith("LLAMA_ARG_"):
            yield f"the value of {name}: set it in the environment of nexusctl, or change valueFrom"

"""Launch specifications → a Compose file that runs the same containers without nexusctl. What `export compose` prints.

The rule: what the engine is asked to create is the one source (`runtimes/docker/container.py`), here only said in
Compose's words, so that both run alike. Where nexusctl itself acts, Compose's own means stand in: health check and
restart policy. Secret values are never here; a service that needs one names a variable and refuses to start without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nexus_ctl.resources.deployment import DeploymentSpec, Probe
from nexus_ctl.resources.launch import LaunchSpec
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.quantity import format_duration
from nexus_ctl.resources.replica import Replica
from nexus_ctl.resources.secret import ValueFrom
from nexus_ctl.runtimes.docker.container import ImageFacts, container_config

HEALTH_INTERVAL = "10s"
"""Docker starts a process in the container for each look, so it looks less often than nexusctl."""
OWN_SERVER = "llama-server"
"""The program that llama.cpp's images start by themselves, and that does not lie on their PATH."""


@dataclass(frozen=True, slots=True)
class Service:
    """One deployment as its containers are made: `launch` with every mount's source in place.

    `entrypoint` is the image's own; None where the image is not here to be asked.
    """

    name: str
    spec: DeploymentSpec
    launch: LaunchSpec
    entrypoint: tuple[str, ...] | None
    note: str = ""
    """What the file should say about it."""


def each_where_it_lies(
    name: str, spec: DeploymentSpec, standing: Mapping[int, DeploymentSpec]
) -> Iterator[tuple[str, DeploymentSpec, str]]:
    """The services of one deployment: name, spec, note. `standing` are the specs of its replicas on GPUs, by index:
    each lies where it lies, so that several of them are several services."""
    if not standing:
        gpus = spec.resources.gpus is not None
        yield name, spec, "no replica of it runs on GPUs as declared: the engine picks them" if gpus else ""
        return
    missing = sorted(set(range(spec.replicas)) - standing.keys())
    for index, one in sorted(standing.items()):
        alone = one.model_copy(update={"replicas": 1})
        note = f"of {spec.replicas} replicas these do not run: {', '.join(map(str, missing))}" if missing else ""
        yield (name if spec.replicas == 1 else f"{name}-{index}"), alone, note


def text(stack: str, services: Iterable[Service], left_out: Iterable[str]) -> str:
    """The file, with a comment that says what it cannot hold."""
    import yaml

    wanted = list(services)
    head = "".join(f"# {line}\n" for line in _head(wanted, sorted(left_out)))
    body: str = yaml.safe_dump(document(stack, wanted), sort_keys=False, allow_unicode=True, width=120)
    return head + body


def document(stack: str, services: Iterable[Service]) -> dict[str, Any]:
    """The Compose document; keys in the order to write them."""
    return {"name": stack, "services": {one.name: _service(one) for one in services}}


def variable(name: str, source: ValueFrom) -> str:
    """The environment variable from which Compose takes a secret: nexusctl's own where it is one."""
    return source.env or name


def _head(services: Iterable[Service], left_out: list[str]) -> Iterator[str]:
    yield "Each service listens on a free port of 127.0.0.1: docker compose port SERVICE PORT"
    if left_out:
        yield f"Only nexusctl's gateway does these, they are not in here: {', '.join(left_out)}"
    for one in services:
        for name, source in sorted(one.launch.secret_env.items()):
            where = f"the content of {source.file}" if source.file else "what its command prints" if source.exec else ""
            yield from [f"{one.name}: set {variable(name, source)} to {where}"] if where else []
        yield from [f"{one.name}: {one.note}"] if one.note else []
        if one.entrypoint is None:
            yield f"{one.name}: {one.launch.image} was not here to be asked for its entry point"


def _service(one: Service) -> dict[str, Any]:
    plain = replace(one.launch, secret_env={})
    owner = Ownership("", "", "Deployment", one.name, 0, "", "")
    config = container_config(Replica(one.name, owner, plain), ImageFacts("", one.entrypoint or (), ()), "")
    own = one.entrypoint is None and one.launch.argv[0] == OWN_SERVER
    secrets = {
        name: f"${{{variable(name, source)}:?is not set}}" for name, source in sorted(one.launch.secret_env.items())
    }
    parts: dict[str, Any] = {
        "image": one.launch.image,
        "entrypoint": [] if own else config["Entrypoint"],
        "command": config["Cmd"],
        "environment": dict(word.split("=", 1) for word in config["Env"]),
        "user": config["User"],
        **_host(config["HostConfig"]),
        "ports": [f"127.0.0.1::{one.launch.port}"],
        "deploy": _deploy(one.spec.replicas, config["HostConfig"]["DeviceRequests"]),
        "restart": "unless-stopped",
        "stop_grace_period": format_duration(one.spec.rollout.stop_deadline),
        "healthcheck": _healthcheck(one.spec.probe, one.launch.port),
    }
    said: dict[str, Any] = _escaped({key: value for key, value in parts.items() if value})
    return said | ({"environment": said.get("environment", {}) | secrets} if secrets else {})


def _host(host: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's HostConfig in Compose's words, less network, ports and GPUs."""
    quota, memory = host.get("CpuQuota"), host.get("Memory")
    return {
        "volumes": [
            {
                "type": "bind",
                "source": mount["Source"],
                "target": mount["Target"],
                "read_only": mount["ReadOnly"],
                "bind": {"create_host_path": False},
            }
            for mount in host["Mounts"]
        ],
        "init": host["Init"],
        "read_only": host["ReadonlyRootfs"],
        "tmpfs": [f"{folder}:{options}" for folder, options in host["Tmpfs"].items()],
        "cap_drop": host["CapDrop"],
        "security_opt": host["SecurityOpt"],
        "pids_limit": host["PidsLimit"],
        "ulimits": {limit["Name"]: {"soft": limit["Soft"], "hard": limit["Hard"]} for limit in host["Ulimits"]},
        "shm_size": host.get("ShmSize"),
        "cpus": quota / host["CpuPeriod"] if quota else None,
        "mem_limit": memory,
        "memswap_limit": host["MemorySwap"] if memory else None,
        "logging": {"driver": host["LogConfig"]["Type"], "options": host["LogConfig"]["Config"]},
    }


def _deploy(replicas: int, requests: list[Mapping[str, Any]]) -> dict[str, Any]:
    devices = []
    for request in requests:
        driver = {"driver": request["Driver"]} if request["Driver"] else {}
        count = {"count": "all" if request["Count"] == -1 else request["Count"]} if "Count" in request else {}
        ids = {"device_ids": request["DeviceIDs"]} if "DeviceIDs" in request else {}
        capabilities = [word for group in request.get("Capabilities", [["gpu"]]) for word in group]
        devices.append({**driver, **count, **ids, "capabilities": capabilities})
    many = {"replicas": replicas} if replicas != 1 else {}
    return many | ({"resources": {"reservations": {"devices": devices}}} if devices else {})


def _healthcheck(probe: Probe, port: int) -> dict[str, Any]:
    """By curl, which the images of llama.cpp and vLLM hold."""
    return {
        "test": ["CMD", "curl", "-fsS", "-o", "/dev/null", f"http://127.0.0.1:{port}{probe.path}"],
        "interval": HEALTH_INTERVAL,
        "timeout": format_duration(probe.timeout),
        "start_period": format_duration(probe.healthy_deadline),
    }


def _escaped(value: Any) -> Any:
    """The values with every `$` written so that Compose reads it as itself; keys it never interpolates."""
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escaped(inner) for inner in value]
    return value.replace("$", "$$") if isinstance(value, str) else value

"""From a Replica to what the engine is asked to create. Pure; called by `runtime.py`.

The rule: what is not said is closed. The container gets a read-only root, no capability, no new privileges, one private
network, one port published on loopback, its own health check switched off (probing is ours) and restart policy `no`
(healing is ours).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nexus_ctl.resources.launch import HOST, PORT, GpuRequest, LaunchSpec, Limits
from nexus_ctl.resources.ownership import MANAGED_BY, PREFIX
from nexus_ctl.resources.replica import Replica

SECRET_NAMES = PREFIX + "secret-env"
"""Label with the names, never the values, of the environment variables that are secrets."""
SECRETS_FOLDER = "/run/nexusctl"
WITH_SECRETS = f'. {SECRETS_FOLDER}/env && exec "$0" "$@"'
"""What the shell runs before the engine, where there are secrets."""
SHELL = "/bin/sh"
CPU_PERIOD = 100_000
"""Microseconds; a quota of this many is one core."""
NO_MEMORY_LIMIT = 1 << 62
"""The engine cannot lift a memory limit of a living container, only raise it: to this."""
TMPFS = "rw,exec,nosuid,nodev,mode=1777"
LOG = {"Type": "json-file", "Config": {"max-size": "20m", "max-file": "3"}}


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image says of itself."""

    image_id: str
    entrypoint: tuple[str, ...]
    path: tuple[str, ...]
    """Directories of its PATH."""


def network_name(instance: str, set_name: str) -> str:
    """The private network of a stack."""
    return f"nexusctl-{instance[:8]}-{set_name}"


def network_labels(instance: str, set_name: str) -> dict[str, str]:
    """Labels by which the network is known as ours."""
    return {MANAGED_BY: "nexusctl", PREFIX + "instance": instance, PREFIX + "set": set_name}


def program(argv: Sequence[str], image: ImageFacts) -> tuple[str, ...]:
    """The words to run. `argv[0]` names the program as in its image: where the image's own entry point is that
    program, wherever it lies, it is the one that runs."""
    own = image.entrypoint[:1]
    if own and own[0].rpartition("/")[2] == argv[0]:
        return (*own, *argv[1:])
    return tuple(argv)


def container_config(replica: Replica, image: ImageFacts, network_id: str) -> dict[str, Any]:
    """The body of the engine's create call."""
    launch = replica.launch
    listen = {HOST: "0.0.0.0", PORT: str(launch.port), f"{HOST}:{PORT}": f"0.0.0.0:{launch.port}"}
    words = program([listen.get(word, word) for word in launch.argv], image)
    if launch.secret_env:
        words = (SHELL, "-c", WITH_SECRETS, *words)
    names = {SECRET_NAMES: ",".join(sorted(launch.secret_env))} if launch.secret_env else {}
    env = dict(launch.env) | (_gpu_order(launch.gpus) if launch.gpus else {})
    aliases = {"Aliases": [replica.owner.name]}
    port = f"{launch.port}/tcp"
    return {
        "Image": image.image_id,
        "Entrypoint": list(words[:1]),
        "Cmd": list(words[1:]),
        "Env": [f"{name}={value}" for name, value in sorted(env.items())],
        "Labels": replica.owner.labels() | names,
        "User": launch.sandbox.user,
        "ExposedPorts": {port: {}},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host_config(launch) | {"NetworkMode": network_id, "PortBindings": {port: [_binding(launch)]}},
        "NetworkingConfig": {"EndpointsConfig": {network_id: aliases}},
    }


def host_config(launch: LaunchSpec) -> dict[str, Any]:
    """What the engine calls HostConfig, less the network."""
    sandbox = launch.sandbox
    ulimits = [{"Name": name, "Soft": value, "Hard": value} for name, value in sorted(sandbox.ulimits.items())]
    shm = {"ShmSize": sandbox.shm_bytes} if sandbox.shm_bytes is not None else {}
    return {
        "Mounts": [_bind(mount.source, mount.target) for mount in launch.mounts],
        "Init": True,
        "ReadonlyRootfs": sandbox.read_only_root,
        "Tmpfs": dict.fromkeys(sandbox.writable, TMPFS),
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": sandbox.pids,
        "Ulimits": ulimits,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": LOG,
        "DeviceRequests": [_device_request(launch.gpus)] if launch.gpus else [],
        **shm,
        **{key: value for key, value in limit_fields(launch.limits).items() if value not in (-1, NO_MEMORY_LIMIT)},
    }


def with_secret_mount(config: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """`config` with the folder of its secrets mounted."""
    host = config["HostConfig"]
    return {**config, "HostConfig": {**host, "Mounts": [*host["Mounts"], _bind(folder, SECRETS_FOLDER)]}}


def limit_fields(limits: Limits) -> dict[str, int]:
    """Limits in the engine's words, also for lifting one. Swap is never added, so that a memory limit is exact."""
    memory = NO_MEMORY_LIMIT if limits.memory_bytes is None else limits.memory_bytes
    quota = -1 if limits.cpu_cores is None else round(limits.cpu_cores * CPU_PERIOD)
    return {"CpuPeriod": CPU_PERIOD, "CpuQuota": quota, "Memory": memory, "MemorySwap": memory}


def _bind(source: str, target: str) -> dict[str, Any]:
    """A bind mount that refuses a missing source, where `-v` would make an empty directory."""
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True}


def _binding(launch: LaunchSpec) -> dict[str, str]:
    host, _, port = launch.fixed_listen.rpartition(":")
    return {"HostIp": host.strip("[]") or "127.0.0.1", "HostPort": port}


def _device_request(gpus: GpuRequest) -> dict[str, Any]:
    if any("=" in device for device in gpus.ids):
        return {"Driver": "cdi", "DeviceIDs": list(gpus.ids)}
    wanted: dict[str, Any] = {"DeviceIDs": list(gpus.ids)} if gpus.ids else {"Count": gpus.count}
    return {"Driver": "", **wanted, "Capabilities": [list(gpus.capabilities)]}


def _gpu_order(gpus: GpuRequest) -> dict[str, str]:
    """CUDA's view of the devices, in the order asked for: inside, indices are counted anew in bus order."""
    if len(gpus.ids) < 2 or any("=" in device for device in gpus.ids):
        return {}
    order = gpus.ids
    if all(device.isdigit() for device in order):
        inside = sorted(order, key=int)
        order = tuple(str(inside.index(device)) for device in order)
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(order)}

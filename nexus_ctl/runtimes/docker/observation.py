"""From what the engine tells to an ObservedReplica. Pure; recorded answers of engines 20.10 and 28 are its tests.

The rule: only what the engine says counts. A state that nexusctl has no use for is the nearest one it has: what the
engine is removing is dead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from nexus_ctl.resources.launch import Limits
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Exit, ObservedReplica, ReplicaState
from nexus_ctl.runtimes.docker.container import CPU_PERIOD, NO_MEMORY_LIMIT
from nexus_ctl.runtimes.docker.errors import LEFTOVER_WORDS

STATES = {
    "created": ReplicaState.CREATED,
    "configured": ReplicaState.CREATED,  # Podman's, like the others that stand aside
    "initialized": ReplicaState.CREATED,
    "running": ReplicaState.RUNNING,
    "paused": ReplicaState.RUNNING,
    "restarting": ReplicaState.RUNNING,
    "stopping": ReplicaState.RUNNING,
    "stopped": ReplicaState.EXITED,
    "exited": ReplicaState.EXITED,
    "removing": ReplicaState.DEAD,
    "dead": ReplicaState.DEAD,
}
LAST_SIGNAL = 64
LOCAL = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where this machine reaches what is published on every address."""
NEVER = "0001-01-01"
"""How the engine writes a time that was not."""


def observed_replica(inspect: Mapping[str, Any]) -> ObservedReplica:
    """One container, from its inspect answer."""
    state = inspect["State"]
    return ObservedReplica(
        name=inspect["Name"].removeprefix("/"),
        runtime_id=inspect["Id"],
        owner=Ownership.from_labels(inspect["Config"].get("Labels") or {}),
        state=_state(state),
        address=_address(inspect["NetworkSettings"].get("Ports") or {}) if state["Running"] else "",
        exit=_exit(state),
        started_at=_time(state["StartedAt"]),
        limits=limits_of(inspect["HostConfig"]),
        pid=state["Pid"] or None,
        ended_at=None if state["Running"] else _time(state["FinishedAt"]),
        paused=state["Status"] == "paused",
        files=tuple(sorted(one["Source"] for one in inspect.get("Mounts") or () if one["Type"] == "bind")),
    )


def _state(state: Mapping[str, Any]) -> ReplicaState:
    if state["Status"] == "created" and re.search(LEFTOVER_WORDS, state["Error"]):
        return ReplicaState.DEAD
    return STATES[state["Status"]]


def limits_of(host_config: Mapping[str, Any]) -> Limits:
    """The limits that the engine keeps; one that was lifted is None again."""
    quota, period = host_config.get("CpuQuota") or 0, host_config.get("CpuPeriod") or CPU_PERIOD
    nano, memory = host_config.get("NanoCpus") or 0, host_config.get("Memory") or 0
    cores = quota / period if quota > 0 else nano / 1e9 if nano else None
    return Limits(cores, memory if 0 < memory < NO_MEMORY_LIMIT else None)


def _address(ports: Mapping[str, Any]) -> str:
    """The first published port; empty when there is none."""
    for _, bindings in sorted(ports.items()):
        for binding in bindings or ():
            host = LOCAL.get(binding["HostIp"], binding["HostIp"])
            return f"http://[{host}]:{binding['HostPort']}" if ":" in host else f"http://{host}:{binding['HostPort']}"
    return ""


def _exit(state: Mapping[str, Any]) -> Exit | None:
    """How the latest run ended, or why there was none; None for what runs or was never started."""
    if state["Running"] or (state["Status"] == "created" and not state["Error"]):
        return None
    code = state["ExitCode"]
    number = code - 128 if 128 < code <= 128 + LAST_SIGNAL else 0
    return Exit(code, 0 if state["Error"] else number, bool(state["OOMKilled"]), state["Error"])


def _time(text: str) -> datetime | None:
    """RFC 3339 with nanoseconds, to microseconds."""
    if text.startswith(NEVER):
        return None
    return datetime.fromisoformat(re.sub(r"\.(\d{1,6})\d*", r".\1", text).replace("Z", "+00:00")).astimezone(UTC)

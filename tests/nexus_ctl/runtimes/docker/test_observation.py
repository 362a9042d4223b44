"""Recorded answers of real engines (`tests/data/docker/<version>/<state>.json`) as nexusctl sees them."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nexus_ctl.resources.launch import Limits
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Exit, ReplicaState
from nexus_ctl.runtimes.docker.container import NO_MEMORY_LIMIT
from nexus_ctl.runtimes.docker.observation import limits_of, observed_replica

DATA = Path("tests/data/docker")
OWNER = Ownership("0123456789abcdef", "demo", "Deployment", "chat", 0, "v1:0123456789abcdef", '{"a":1}')
MIB = 1024 * 1024


@pytest.fixture(params=sorted(path.name for path in DATA.iterdir()))
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def recorded(version: str, state: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DATA / version / f"{state}.json").read_text(encoding="utf-8"))
    assert document["engine"] == version
    inspect: dict[str, Any] = document["inspect"]
    return inspect


@pytest.mark.parametrize(
    ("state", "expected", "ended"),
    [
        ("created", ReplicaState.CREATED, None),
        ("running", ReplicaState.RUNNING, None),
        ("paused", ReplicaState.RUNNING, None),
        ("exited", ReplicaState.EXITED, Exit(3)),
        ("killed", ReplicaState.EXITED, Exit(137, 9)),
        ("out-of-memory", ReplicaState.EXITED, Exit(137, 9, out_of_memory=True)),
    ],
)
def test_states(version: str, state: str, expected: ReplicaState, ended: Exit | None) -> None:
    seen = observed_replica(recorded(version, state))
    assert (seen.owner, seen.state, seen.exit) == (OWNER, expected, ended)
    running = expected is ReplicaState.RUNNING
    assert (seen.address != "", seen.pid is not None) == (running, running)
    assert (seen.started_at is None) == (expected is ReplicaState.CREATED)


def test_a_running_one_in_full(version: str) -> None:
    inspect = recorded(version, "running")
    seen = observed_replica(inspect)
    port = inspect["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]
    assert seen.name == "demo-chat-0-running"
    assert seen.runtime_id == inspect["Id"]
    assert seen.address == f"http://127.0.0.1:{port}"
    assert seen.limits == Limits(cpu_cores=0.5, memory_bytes=256 * MIB)
    assert seen.started_at is not None
    assert seen.started_at.tzinfo is UTC
    assert seen.started_at > datetime(2026, 1, 1, tzinfo=UTC)


def test_why_it_never_started(version: str) -> None:
    seen = observed_replica(recorded(version, "no-gpu"))
    assert seen.state is ReplicaState.CREATED
    assert seen.exit is not None
    assert (seen.exit.code, seen.exit.signal) == (128, 0)
    assert "could not select device driver" in seen.exit.error


@pytest.mark.parametrize("error", ["task 6f: already exists: unknown", "OCI runtime: container id already in use"])
def test_what_an_engine_crash_left_behind_is_dead(version: str, error: str) -> None:
    inspect = copy.deepcopy(recorded(version, "created"))
    inspect["State"] |= {"Error": error, "ExitCode": 128}
    assert observed_replica(inspect).state is ReplicaState.DEAD


@pytest.mark.parametrize("status", ["removing", "dead"])
def test_half_removed_is_dead(version: str, status: str) -> None:
    inspect = copy.deepcopy(recorded(version, "exited"))
    inspect["State"]["Status"] = status
    assert observed_replica(inspect).state is ReplicaState.DEAD


def test_without_labels_it_is_nobodys(version: str) -> None:
    inspect = copy.deepcopy(recorded(version, "running"))
    inspect["Config"]["Labels"] = None
    assert observed_replica(inspect).owner is None


@pytest.mark.parametrize(
    ("host_config", "limits"),
    [
        ({}, Limits()),
        ({"CpuQuota": -1, "CpuPeriod": 100_000, "Memory": NO_MEMORY_LIMIT}, Limits()),
        ({"CpuQuota": 150_000, "CpuPeriod": 100_000, "Memory": 7 * MIB}, Limits(1.5, 7 * MIB)),
        ({"NanoCpus": 2_500_000_000, "Memory": 0}, Limits(2.5)),
        ({"CpuQuota": 50_000}, Limits(0.5)),
    ],
)
def test_limits(host_config: dict[str, int], limits: Limits) -> None:
    assert limits_of(host_config) == limits

"""A process runtime of this test alone, and ways to look at what really runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from nexus_ctl.resources.launch import LaunchSpec
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Replica
from nexus_ctl.runtimes.process.runtime import ProcessRuntime
from tests.contracts import tiny

TINY = (sys.executable, "-I", "-S", tiny.__file__)
OWNER = Ownership("install-1", "demo", "Deployment", "chat", 0, "v1:0123456789abcdef", "{}")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory; whatever still runs in it afterwards is ended."""
    path = tmp_path / "state"
    yield path
    for name in [alive.parent.name for alive in path.glob("replicas/[!.]*/alive")]:
        open_runtime(path).stop(name, 0)


@pytest.fixture
def runtime(state: Path) -> ProcessRuntime:
    return open_runtime(state)


def open_runtime(state: Path, **changes: Any) -> ProcessRuntime:
    """As another nexusctl would open it."""
    return ProcessRuntime(state, OWNER.instance, {"tiny": TINY}, **changes)


def a_replica(*words: str, name: str = "r", **changes: object) -> Replica:
    """tiny with these words."""
    make: Callable[..., LaunchSpec] = LaunchSpec
    return Replica(name, OWNER, make(argv=("tiny", *words), **changes))


def get(address: str, path: str = "/") -> str:
    """The body."""
    with urlopen(address + path, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def processes_of(state: Path) -> list[int]:
    """Every supervisor and engine of this state directory: those that name it, or that run under one that does."""
    parents: dict[int, int] = {}
    named: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if stat[0] == "Z":
                continue
            parents[int(entry.name)] = int(stat[1])
            if str(state).encode() in words:
                named.add(int(entry.name))
    return sorted(pid for pid, parent in parents.items() if pid in named or parent in named)

"""The port every runtime implements: list, create, start, stop, remove, update, logs.

Semantics are Docker's, and the contract suite (`tests/contracts/`) holds FakeRuntime, the process runtime and Docker
to them: a name is a lock (of two racing creators one wins), start of a running and stop of a stopped replica succeed
without effect, remove of a missing one raises NotFound, remove of a running one is Refused. `list` is one call,
whatever the number of replicas. Adapters translate every foreign error to `nexus_ctl.errors` and chain the cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from nexus_ctl.engines.launch import LaunchSpec, Limits
from nexus_ctl.resources.ownership import Ownership


class ReplicaState(StrEnum):
    """What a runtime says of a replica."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    DEAD = "dead"
    """Half removed, or never to be started again; only remove helps."""


@dataclass(frozen=True, slots=True)
class Exit:
    """Why a replica is no longer running. `signal` is 0 unless a signal ended it; `code` follows 128 + signal."""

    code: int
    signal: int = 0
    out_of_memory: bool = False
    error: str = ""
    """The runtime's own words, where the replica never started."""

    def __str__(self) -> str:
        if self.out_of_memory:
            return f"exited({self.code}, out of memory)"
        return f"exited({self.code})"


@dataclass(frozen=True, slots=True)
class Replica:
    """What to create: a name, whose it is, and what to run. Every mount's `source` is filled in."""

    name: str
    owner: Ownership
    launch: LaunchSpec


@dataclass(frozen=True, slots=True)
class ObservedReplica:
    """What a runtime tells of one replica. `owner` is None for a thing that is not nexusctl's.

    `address` is `http://host:port` while running, else empty. `runtime_id` changes when the thing is made anew
    (container id; for a process the id of its record), `started_at` with each start.
    """

    name: str
    runtime_id: str
    owner: Ownership | None
    state: ReplicaState
    address: str = ""
    exit: Exit | None = None
    started_at: datetime | None = None
    limits: Limits = Limits()
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a runtime can do, so that a plan can refuse what it cannot."""

    driver: str
    fractional_cpu: bool
    gpus: bool
    images: bool
    refused_flags: frozenset[str] = frozenset()
    """Engine flags that this runtime's build of the engine cannot honour."""


class Runtime(Protocol):
    """Where replicas run. Methods block; callers bring threads. Every method may raise RuntimeUnreachable."""

    def capabilities(self) -> Capabilities:
        """What this runtime can do."""
        ...

    def list(self) -> tuple[ObservedReplica, ...]:
        """Every replica of this install (its instance label), any state, sorted by name; one call to the runtime."""
        ...

    def inspect(self, name: str) -> ObservedReplica | None:
        """The thing of that name, ours or not; None when there is none."""
        ...

    def create(self, replica: Replica) -> None:
        """Make it, not running. Raises NameInUse when anything bears the name, Terminal when it can never work."""
        ...

    def start(self, name: str, secrets: Mapping[str, str]) -> None:
        """Start it; `secrets` are the values of `secret_env`. Running already: no effect. Raises NotFound, Refused."""
        ...

    def stop(self, name: str, grace_seconds: float) -> None:
        """Ask it to end, kill it after the grace. Not running: no effect. Raises NotFound."""
        ...

    def remove(self, name: str) -> None:
        """Forget it and its files. Raises NotFound, and Refused while it runs."""
        ...

    def update(self, name: str, limits: Limits) -> None:
        """Change the limits of a living replica, then read them back. Raises NotFound, Refused."""
        ...

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """Lines of stdout and stderr, oldest first, without newline. `tail` = last n; `follow` ends when it stops."""
        ...

    def progress(self, name: str) -> str:
        """A token that changes whenever the replica shows a sign of life (log output); "" when there is none."""
        ...

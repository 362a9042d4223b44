"""A replica as a value: what to create, and what a runtime tells of it. The two face each other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from nexus_ctl.resources.launch import LaunchSpec, Limits
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
    ended_at: datetime | None = None
    """When the latest run ended; None while it runs, where it never ran, and where nobody saw the end."""
    files: tuple[str, ...] = ()
    """Files and folders of this machine that it was given, sorted: what it needs to start again."""
    paused: bool = False
    """It runs and was halted by somebody (`docker pause`, SIGSTOP): it keeps its memory and answers nothing."""

    @property
    def condition(self) -> str:
        """How it is, in a word for people: `running`, `paused`, `exited(137)`, `created`, `dead`."""
        return "paused" if self.paused else str(self.exit or self.state.value)


class Health(StrEnum):
    """What a replica answers to one look of its readiness probe."""

    READY = "ready"
    """200: the model is loaded."""
    LOADING = "loading"
    """503: the engine listens and says that it is not there yet; a sign of life."""
    DOWN = "down"
    """Nothing listens, the look timed out, or the answer is neither 200 nor 503."""

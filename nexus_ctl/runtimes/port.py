"""The port every runtime implements: list, inspect, create, start, stop, resume, remove, update, logs.

Semantics are Docker's, and the contract suite (`tests/contracts/`) holds FakeRuntime, the process runtime and Docker
to them: a name is a lock (of two racing creators one wins), start of a running and stop of a stopped replica succeed
without effect, stop of a paused one ends it, remove of a missing one raises NotFound, remove of a running one is
Refused. `list` is one call, whatever the number of replicas. Adapters translate every foreign error to
`nexus_ctl.errors` and chain the cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from nexus_ctl.resources.adoption import Candidate
from nexus_ctl.resources.artifact import ProgressSink
from nexus_ctl.resources.image import Credentials, LocalImage, PullSize
from nexus_ctl.resources.launch import Limits
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import ObservedReplica, Replica
from nexus_ctl.runtimes.watch import Watch


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a runtime can do, so that a plan can refuse what it cannot."""

    driver: str
    fractional_cpu: bool
    gpus: bool
    images: bool
    live_limits: bool = True
    """Whether the limits of a living replica can be changed."""
    refused_flags: frozenset[str] = frozenset()
    """Engine flags that this runtime's build of the engine cannot honour."""
    adopts: bool = False
    """Whether a thing that somebody else started can be taken over as it runs."""
    engine_build: str = ""
    """Which build of llama.cpp it runs by itself; "" where images say that."""


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

    def candidate(self, name: str) -> Candidate | None:
        """The thing of that name as what may be taken over; None when there is none. Nothing is changed."""
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

    def resume(self, name: str) -> None:
        """Let a paused one go on. Not paused, or not running: no effect. Raises NotFound."""
        ...

    def remove(self, name: str) -> None:
        """Forget it and its files. Raises NotFound, and Refused while it runs."""
        ...

    def sweep(self, set_name: str) -> None:
        """Take away what was made for a stack beside its replicas (a network), where it has none any more: what a death
        or a hand left behind. With replicas there, or nothing to take: no effect."""
        ...

    def adopt(self, name: str, runtime_id: str, owner: Ownership) -> None:
        """Own a running thing of somebody's from now on, as it is: nothing of it is changed, and what is told of it
        bears `owner`. What bears its name later is another thing: all that follows raises NotFound for it. Owned so
        already: no effect. Raises NotFound (no such thing, or of another id), Refused (it bears
        an owner, or this runtime adopts nothing)."""
        ...

    def update(self, name: str, limits: Limits) -> None:
        """Change the limits of a living replica, then read them back. Raises NotFound, Refused (always, without
        `live_limits`)."""
        ...

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """Lines of stdout and stderr, oldest first, without newline. `tail` = last n; `follow` ends when it stops."""
        ...

    def progress(self, name: str) -> str:
        """A token that changes whenever the replica shows a sign of life (log output); "" when there is none."""
        ...

    def watch(self) -> Watch:
        """What happens to this install's replicas from now on, as hints where to look; at least every end is told."""
        ...


class Images(Protocol):
    """The container images of a runtime. Only `pull` brings anything here."""

    def image(self, image: str) -> LocalImage | None:
        """The image as it is here; None when it is not."""
        ...

    def offered_digest(self, image: str, login: Credentials | None = None) -> str:
        """The digest the registry would deliver now. Raises Terminal (no such image, no access) or Retryable."""
        ...

    def pull_size(self, image: str, digest: str, login: Credentials | None = None) -> PullSize:
        """What a pull of the offered digest would download and take; a silent registry makes the bytes unknown."""
        ...

    def pull(self, image: str, login: Credentials | None, progress: ProgressSink, *, digest: str = "") -> LocalImage:
        """Bring it here; with `digest` that one, which `image` then names.

        Raises Terminal (no such image, no access, wrong digest) or Retryable.
        """
        ...

"""The world as execution and the controllers reach it: every port in one value. Tests hand in fakes, or break them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nexus_ctl.artifacts.port import Artifacts
from nexus_ctl.clock import Clock
from nexus_ctl.execution.secrets import sendable
from nexus_ctl.resources.device import GpuUse
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.image import Credentials, RegistryLogin
from nexus_ctl.resources.replica import ObservedReplica
from nexus_ctl.resources.secret import ValueFrom
from nexus_ctl.routing.port import Keys, Routing
from nexus_ctl.runtimes.port import Images, Runtime
from nexus_ctl.runtimes.probe import Prober

GATEWAY = "Gateway"
"""The kind of what runs on `host`."""


@dataclass(frozen=True, slots=True)
class World:
    """Every way out. `host` runs what must live outside containers: the gateway."""

    runtime: Runtime
    host: Runtime
    images: Images | None
    """The container images of `runtime`; None where it has none."""
    artifacts: Artifacts
    routing: Routing
    keys: Keys
    """The keys of running engines."""
    prober: Prober
    secret: Callable[[ValueFrom], str]
    """The value of a secret reference, read now. Raises Terminal."""
    redact: Callable[[str], str]
    """The text with every secret value that was read so far replaced by `***`."""
    fingerprint: Callable[[Mapping[str, str]], str]
    """Keyed digest of secret values by name; "" for none."""
    clock: Clock
    free_memory: Callable[[], int | None]
    """Bytes of host memory that new processes may take; None when unknown."""
    gpus: Callable[[Sequence[ObservedReplica]], GpuUse]
    """The machine's GPUs now, and what each of these replicas uses of them."""

    def credentials(self, login: RegistryLogin | None) -> Credentials | None:
        """A login with its password read now. Raises Terminal."""
        return Credentials(login.username, self.secret(login.password.value_from)) if login is not None else None

    def key(self, source: ValueFrom) -> str:
        """A key for engines, read now. Raises Terminal, also where a header could not bear it."""
        return sendable(self.secret(source))

    def runtime_of(self, ref: Ref) -> Runtime:
        """Where the replicas of an object live."""
        return self.host if ref.kind == GATEWAY else self.runtime

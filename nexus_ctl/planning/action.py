"""Actions: one outside call each, as data. A closed union; execution matches on it with `assert_never`.

Every action is safe to repeat (R11, crash matrix 2.3): names are deterministic, files content-addressed, table
entries keyed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nexus_ctl.resources.artifact import Offer, Pin, Request
from nexus_ctl.resources.busy import BusySignal
from nexus_ctl.resources.image import RegistryLogin
from nexus_ctl.resources.launch import Limits, ReadyProbe
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Replica
from nexus_ctl.resources.routing import PresetEntry, RouteEntry
from nexus_ctl.resources.secret import SecretSource, ValueFrom


class Pool(StrEnum):
    """Which workers carry an action out; each pool has its own limit, and waiting holds no worker at all (R13)."""

    DOWNLOAD = "download"
    BUILD = "build"
    RUNTIME = "runtime"
    ROUTING = "routing"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class FetchModel:
    """Deliver and verify a model's bytes into the cache."""

    model: str
    request: Request
    offer: Offer
    token: SecretSource | None = None
    pool = Pool.DOWNLOAD


@dataclass(frozen=True, slots=True)
class ConvertModel:
    """Build the GGUF that `request` ends with, by the tool of these words; its source is there by then."""

    model: str
    request: Request
    identity: str
    tool: str
    pool = Pool.BUILD


@dataclass(frozen=True, slots=True)
class QuantizeModel:
    """Build the quantization that `request` ends with, by the tool of these words; its inputs are there by then."""

    model: str
    request: Request
    identity: str
    tool: str
    pool = Pool.BUILD


@dataclass(frozen=True, slots=True)
class PinModel:
    """Record in the cache that this stack uses the artifact."""

    pin: Pin
    pool = Pool.ROUTING


@dataclass(frozen=True, slots=True)
class UnpinModel:
    """Drop the record; with `delete_bytes` the bytes go too unless another stack uses them."""

    pin: Pin
    delete_bytes: bool
    pool = Pool.ROUTING


@dataclass(frozen=True, slots=True)
class PullImage:
    """Bring a container image to the engine."""

    name: str
    login: RegistryLogin | None = None
    digest: str = ""
    """Bring this one, and let `name` mean it; "" is what the registry has under the name."""
    pool = Pool.DOWNLOAD


@dataclass(frozen=True, slots=True)
class CreateReplica:
    """Make a replica without starting it. `models` names the artifact behind each mount that waits for a path."""

    replica: Replica
    models: Mapping[str, Request] = field(default_factory=dict)
    pool = Pool.RUNTIME


@dataclass(frozen=True, slots=True)
class AdoptReplica:
    """Own a running thing of somebody's from now on, as it is."""

    name: str
    runtime_id: str
    owner: Ownership
    pool = Pool.RUNTIME


@dataclass(frozen=True, slots=True)
class StartReplica:
    """Start a made replica, handing it its secrets."""

    name: str
    secret_env: Mapping[str, ValueFrom] = field(default_factory=dict)
    key_env: str = ""
    """Which of them is the key that calls to it must bear; empty = none."""
    pool = Pool.RUNTIME


@dataclass(frozen=True, slots=True)
class AwaitReady:
    """Wait until the replica answers its probe, or a deadline passes, or it exits."""

    name: str
    probe: ReadyProbe
    pool = Pool.WAIT


@dataclass(frozen=True, slots=True)
class Publish:
    """Put a ready replica's present address, and the names its engine takes, into the gateway's table."""

    deployment: str
    name: str
    pool = Pool.ROUTING


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take a replica out of the gateway's table: no new request reaches it."""

    deployment: str
    name: str
    pool = Pool.ROUTING


@dataclass(frozen=True, slots=True)
class Drain:
    """Wait until nothing is open on a withdrawn replica, or the deadline passes: by the gateway's count and, with
    `busy`, by the engine's own word, which also knows of requests that came past the gateway."""

    name: str
    deadline_seconds: float
    busy: BusySignal | None = None
    pool = Pool.WAIT


@dataclass(frozen=True, slots=True)
class StopReplica:
    """End a replica politely, then by force."""

    name: str
    grace_seconds: float
    pool = Pool.RUNTIME


@dataclass(frozen=True, slots=True)
class ResumeReplica:
    """Let a replica that somebody paused go on."""

    name: str
    pool = Pool.RUNTIME


@dataclass(frozen=True, slots=True)
class RemoveReplica:
    """Remove a replica that does not run."""

    name: str
    pool = Pool.RUNTIME


@dataclass(frozen=True, slots=True)
class Sweep:
    """Take away what the runtime made for a stack beside its replicas, where it has none any more."""

    name: str
    pool = Pool.RUNTIME


@dataclass(frozen=True, slots=True)
class UpdateLimits:
    """Change the limits of a living replica and read them back."""

    name: str
    limits: Limits
    pool = Pool.RUNTIME


@dataclass(frozen=True, slots=True)
class PutPreset:
    """Put a preset into the gateway's table."""

    name: str
    entry: PresetEntry
    pool = Pool.ROUTING


@dataclass(frozen=True, slots=True)
class DeletePreset:
    """Take a preset out of the gateway's table."""

    name: str
    pool = Pool.ROUTING


@dataclass(frozen=True, slots=True)
class PutRoute:
    """Put a route into the gateway's table."""

    name: str
    entry: RouteEntry
    pool = Pool.ROUTING


@dataclass(frozen=True, slots=True)
class DeleteRoute:
    """Take a route out of the gateway's table."""

    name: str
    pool = Pool.ROUTING


Action = (
    FetchModel
    | ConvertModel
    | QuantizeModel
    | PinModel
    | UnpinModel
    | PullImage
    | CreateReplica
    | AdoptReplica
    | StartReplica
    | AwaitReady
    | Publish
    | Withdraw
    | Drain
    | StopReplica
    | ResumeReplica
    | RemoveReplica
    | Sweep
    | UpdateLimits
    | PutPreset
    | DeletePreset
    | PutRoute
    | DeleteRoute
)


def subject(action: Action) -> str:
    """The one name an action is about, for plans, journal and events."""
    match action:
        case FetchModel(model=name) | ConvertModel(model=name) | QuantizeModel(model=name):
            return name
        case PinModel(pin=pin) | UnpinModel(pin=pin):
            return pin.model
        case CreateReplica(replica=replica):
            return replica.name
        case _:
            return action.name

"""What was found of each kind, facing what is declared. Values only; controllers fill them, planning reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nexus_ctl.resources.adoption import Candidate
from nexus_ctl.resources.artifact import Artifact, Forecast, Offer, Pin, Request, Upstream
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.normal import Normal
from nexus_ctl.resources.replica import Health, ObservedReplica, ReplicaState
from nexus_ctl.resources.routing import PresetEntry, RouteEntry
from nexus_ctl.resources.weights import GgufHeader


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the store remembers of an object: never the truth about the world, only about the wish."""

    ref: Ref
    spec: Normal
    generation: int = 1
    protect: str = ""
    suspended: str = ""
    """Reason of a suspension made at the command line; "" when there is none."""
    former_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ObservedModel:
    """A Model in the world: its artifact, its pin, and, where bytes are missing, what the source offers."""

    request: Request | None = None
    artifact: Artifact | None = None
    pin: Pin | None = None
    offer: Offer | None = None
    partial_bytes: int = 0
    error: str = ""
    """Why the source could not be asked, or the artifact not be built."""
    hopeless: bool = False
    """Asking again is useless until somebody changes something."""
    inputs: tuple[ObservedModel, ...] = ()
    """Of an artifact that is to be built: what it is built from, the source's own file first."""
    forecast: Forecast | None = None
    """Of an artifact that is to be built."""

    upstream: Upstream | None = None
    """What the source's branch names by now, where that was looked at."""
    beneath_bytes: int = 0
    """Of a Model that is no longer declared: what the cache holds of that it was built from."""

    @property
    def is_wanted(self) -> bool:
        """Whether its bytes are to be had anew: they are not here, or the source has others now."""
        if self.artifact is None or self.offer is None:
            return self.artifact is None
        return self.offer.identity not in (self.artifact.identity, f"sha256:{self.artifact.sha256}")

    @property
    def identity(self) -> str:
        """What the bytes are once the plan is carried out; "" when unknown."""
        if self.artifact is not None and not self.is_wanted:
            return self.artifact.identity
        return self.offer.identity if self.offer is not None else ""


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """A replica of ours with what its probe says. `health` is DOWN unless it runs. `lost` says why one that runs, and
    was ready once, is to be made anew; "" otherwise."""

    replica: ObservedReplica
    health: Health = Health.DOWN
    answers: Mapping[str, Any] = field(default_factory=dict)
    """What a ready engine says it loaded: JSON by path; a path that was not answered is left out."""
    keyed: bool = False
    """Whether the key that it asks for is kept where the gateway finds it."""
    lost: str = ""

    @property
    def runs(self) -> bool:
        """Whether it runs and may be kept."""
        return self.replica.state is ReplicaState.RUNNING and not self.lost


@dataclass(frozen=True, slots=True)
class Timing:
    """What the replicas of a Deployment took lately, by the journal: the longest of the last few."""

    ready_seconds: float
    """From being started to standing in the routing table."""
    leave_seconds: float | None = None
    """From being withdrawn to having stopped; None while it was never measured."""


@dataclass(frozen=True, slots=True)
class ObservedDeployment:
    """A Deployment in the world.

    `endpoints` are its rows of the routing table (replica → address), `routed_as` the deployment name each of those
    rows stands under: another one than its own while a rename is under way. `served` are the model names in them, where
    there are any.
    """

    replicas: tuple[ReplicaView, ...] = ()
    endpoints: Mapping[str, str] = field(default_factory=dict)
    routed_as: Mapping[str, str] = field(default_factory=dict)
    served: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secrets_digest: str = ""
    """Fingerprint of the secrets as they are now."""
    in_the_way: frozenset[str] = frozenset()
    """Names we would take that things which are not ours already bear."""
    adoptable: Candidate | None = None
    """What the annotation `nexusctl/adopt` names, looked up where no replica is."""
    error: str = ""
    """Why a secret could not be read."""
    header: GgufHeader | None = None
    """Of the model's file, read only where a replica is to be made."""
    checkpoint: Checkpoint | None = None
    """Configuration and tensors of the model, for an engine that loads safetensors; read where `header` is."""
    beside: Mapping[str, GgufHeader] = field(default_factory=dict)
    """Of the files that come along (draft, adapters, projector), by the path of the reference."""
    no_gguf: Mapping[str, str] = field(default_factory=dict)
    """Files that this engine cannot read, by the path of the reference: what they are instead."""


@dataclass(frozen=True, slots=True)
class ObservedPreset:
    """A Preset's row of the routing table."""

    entry: PresetEntry | None = None


@dataclass(frozen=True, slots=True)
class ObservedRoute:
    """A Route's row of the routing table, how many replicas stand behind it there, and how many of them are ready."""

    entry: RouteEntry | None = None
    endpoints: int = 0
    answering: int = 0


@dataclass(frozen=True, slots=True)
class ObservedGateway:
    """The gateway's processes (one, but for the moment of an exchange)."""

    replicas: tuple[ReplicaView, ...] = ()
    in_the_way: frozenset[str] = frozenset()
    rival: str = ""
    """Who listens where it is to listen and does not yet."""
    astray: frozenset[str] = frozenset()
    """Those of the processes that follow another stack's table."""

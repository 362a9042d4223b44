"""Kind `Stack`: the workspace itself, in `nexus.yaml`. Settings; never an object in the world."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nexus_ctl.resources.artifact import HEADROOM_BYTES
from nexus_ctl.resources.field import FORBIDDEN, INERT, REPLACE, Spec, as_map, as_set
from nexus_ctl.resources.image import PullPolicy, RegistryLogin
from nexus_ctl.resources.placement import Strategy
from nexus_ctl.resources.quantity import Bytes, LocalPath

Listen = Annotated[str, Field(pattern=r"^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:]+\]|localhost):\d{1,5}$")]


Place = Annotated[str, Field(pattern=r"^(host|\d+|(GPU|MIG)-\S+)$")]


class RuntimeSettings(Spec):
    """Where replicas run."""

    driver: Annotated[Literal["auto", "process", "docker"], FORBIDDEN] = "auto"
    """`process` runs engines as plain processes of this machine, `docker` as containers of its Docker engine. `auto` is
    `docker` where an engine answers, else `process`, and stays what it was at first."""
    llama_server: Annotated[LocalPath | None, INERT] = None
    """Path of a `llama-server` binary for the process runtime; otherwise the one on PATH, otherwise the xllamacpp
    package."""

    pull_policy: Annotated[PullPolicy, INERT] = "IfNotPresent"
    """When container images are pulled. `IfNotPresent` asks the registry only for what is not here; `Always` asks each
    time whether a tag has moved, and replaces what runs when it has; `Never` pulls nothing: for hosts without a
    network."""
    registries: Annotated[dict[str, RegistryLogin], as_map(INERT)] = {}
    """Logins by registry host (`ghcr.io`)."""


class ModelCache(Spec):
    """Where model files lie; shared by all stacks of a user."""

    path: Annotated[LocalPath, INERT] = "~/.cache/nexusctl/models"
    """Directory; `~` is the home directory."""
    reserve: Annotated[Bytes, INERT] = HEADROOM_BYTES
    """Room that downloads leave on the directory's disk for everything else; what does not fit beside it is refused
    before anything is stopped."""


class Downloads(Spec):
    """How models are downloaded."""

    bytes_per_second: Annotated[Bytes | None, INERT, Field(ge=1024)] = None
    """What all model downloads of one nexusctl may take of the line together, per second (`20Mi`); as fast as it goes
    when left out. `parallelism.downloads` says how many run at once; image pulls are the engine's and not held."""


class GatewaySettings(Spec):
    """The OpenAI-compatible gateway."""

    listen: Annotated[Listen, REPLACE] = "127.0.0.1:8600"
    """Address and port. Only a loopback address is accepted until an AccessPolicy guards it."""


class StateSettings(Spec):
    """Where history, events and journal are kept. Losing it restarts nothing."""

    url: Annotated[str | None, INERT] = None
    """SQLAlchemy URL; SQLite in `.nexus/state.db` when left out."""
    history_limit: Annotated[int, INERT, Field(ge=1, le=1000)] = 10
    """Revisions kept per object for `history` and `rollback`."""


class Parallelism(Spec):
    """How many actions of one class run at once."""

    downloads: Annotated[int, Field(ge=1, le=64)] = 2
    """Model downloads."""
    starts: Annotated[int, Field(ge=1, le=64)] = 4
    """Calls to the runtime."""


class PlacementSettings(Spec):
    """How much of the machine's memory replicas may take together, and on which GPUs they come to lie first."""

    strategy: Strategy = "pack"
    """`pack` fills the fullest GPU that fits, `spread` takes the emptiest."""
    reserve: Annotated[Bytes, Field(ge=0)] = 0
    """Bytes of each GPU that stay free for others."""
    budgets: dict[Place, Bytes] = {}
    """At most so much of one place: by GPU index (`"0"`), UUID (`GPU-...`, `MIG-...`), or `host` for the machine's
    RAM."""
    total: Annotated[Bytes | None, Field(gt=0)] = None
    """At most so much in all places together, for this stack."""


class Environment(Spec):
    """One environment: what `-e NAME` lays over the base."""

    overlays: Annotated[list[str], Field(min_length=1)]
    """Files, directories or globs, relative to `nexus.yaml`; later ones win."""


class StackSpec(Spec):
    """What a Stack declares."""

    include: Annotated[list[str], as_set(INERT)] = []
    """Files, directories or globs with further manifests, relative to `nexus.yaml`."""
    runtime: Annotated[RuntimeSettings, INERT] = RuntimeSettings()
    """Where replicas run."""
    model_cache: Annotated[ModelCache, INERT] = ModelCache()
    """Where model files lie."""
    downloads: Annotated[Downloads, INERT] = Downloads()
    """How models are downloaded."""
    gateway: Annotated[GatewaySettings, REPLACE] = GatewaySettings()
    """The OpenAI-compatible gateway."""
    state: Annotated[StateSettings, INERT] = StateSettings()
    """Where history, events and journal are kept."""
    parallelism: Annotated[Parallelism, INERT] = Parallelism()
    """How many actions of one class run at once."""
    placement: Annotated[PlacementSettings, INERT] = PlacementSettings()
    """How much memory replicas may take, and where they come to lie first."""
    environments: Annotated[dict[str, Environment], as_map(INERT)] = {}
    """Environments by name."""

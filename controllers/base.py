"""What every controller is: three functions per kind, and the values they share.

`observe` reads the world and never writes; `plan` and `assess` are pure. `None` stands for absent, so create, update
and delete come out of one comparison. Kinds do not know each other: what one needs of another comes in the `Scene`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nexus_ctl.execution.world import World
from nexus_ctl.planning.change import Change, Step
from nexus_ctl.planning.machine import Machine
from nexus_ctl.planning.rollout import Incoming
from nexus_ctl.planning.seats import Seat
from nexus_ctl.resources.artifact import Pin, Room
from nexus_ctl.resources.backoff import Backoff
from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.image import ObservedImage
from nexus_ctl.resources.launch import LaunchSpec
from nexus_ctl.resources.lock import Lock
from nexus_ctl.resources.normal import Normal
from nexus_ctl.resources.observed import ObservedModel, Recorded, Timing
from nexus_ctl.resources.replica import ObservedReplica
from nexus_ctl.resources.routing import Table
from nexus_ctl.resources.stack import PlacementSettings
from nexus_ctl.runtimes.port import Capabilities
from nexus_ctl.store.records import Revision


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is read once for all resources: one call per port, whatever the number of resources."""

    replicas: tuple[ObservedReplica, ...]
    host_replicas: tuple[ObservedReplica, ...]
    table: Table
    pins: tuple[Pin, ...]
    recorded: Mapping[Ref, Recorded]


@dataclass(frozen=True, slots=True)
class Berth:
    """One deployment's replicas as they should be, one per index.

    `seat` says where those that are to be made come to lie; None where none is, or nothing is known of the memory of
    one. `evicted` are its replicas that go in favour of another deployment.
    """

    incoming: tuple[Incoming, ...]
    seat: Seat | None = None
    evicted: Mapping[str, Ref] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """What pure planning may know besides one resource's desired and observed state."""

    set: str
    instance: str
    version: str
    capabilities: Capabilities
    recorded: Mapping[Ref, Recorded] = field(default_factory=dict)
    launches: Mapping[Ref, LaunchSpec] = field(default_factory=dict)
    """What each declared deployment runs before it has a place, worked out once per look."""
    models: Mapping[str, ObservedModel] = field(default_factory=dict)
    images: Mapping[str, ObservedImage] = field(default_factory=dict)
    """Container images by name; empty where the runtime has none."""
    answering: frozenset[str] = frozenset()
    """The replicas of the set whose probes said ready in this look."""
    machine: Machine = Machine()
    reports: Mapping[str, Any] = field(default_factory=dict)
    """What engines told of their memory at earlier starts, by key (`controllers/learning.py`)."""
    placement: PlacementSettings = PlacementSettings()
    berths: Mapping[Ref, Berth] = field(default_factory=dict)
    """What each deployment's replicas should be and where they lie (`controllers/seating.py`)."""
    table_path: str = ""
    """The routing table's file, as the gateway is told."""
    adopt: bool = False
    """Take over what an annotation names, where it is nobody's."""
    refresh: bool = False
    """Ask sources again even where a verified artifact is here."""
    timings: Mapping[Ref, Timing] = field(default_factory=dict)
    """How long replicas took lately, by Deployment."""
    lock: Lock | None = None
    """What `nexus.lock` pins; None without one."""
    look_upstream: bool = False
    """Ask whether the branches that models were taken from have moved."""
    room: Room | None = None
    """The model cache's disk; None when it was not looked at."""
    removal: str = "prune"
    """The verb a missing declaration means: `prune`, or `delete` when a person named the object."""
    now: datetime = datetime.min.replace(tzinfo=UTC)
    """When the look was taken."""
    backoffs: Mapping[str, Backoff] = field(default_factory=dict)
    """What is known of replicas that ended, by name: as the store remembers it, with what this look adds."""
    reverted: Mapping[Ref, Mapping[str, Revision]] = field(default_factory=dict)
    """Revisions that were gone back from, per object by the digest of their spec."""
    retry: frozenset[Ref] = frozenset()
    """Objects that somebody asked to have made good now, whatever is the matter."""
    held: Mapping[Ref, Revision] = field(default_factory=dict)
    """Objects whose declared spec is one of those: they are planned and assessed as what was gone back to."""

    @property
    def waiting(self) -> Mapping[str, str]:
        """Replicas that are not to be started yet, by name, and what to say of each."""
        return {name: one.words(self.now) for name, one in self.backoffs.items() if one.seconds_left(self.now)}


def suspended(ref: Ref, desired: Resource[Any] | None, scene: Scene) -> str:
    """Why an object is left as it is (R26): what was said at the command line, or that its spec says so, the declared
    one or, where none is declared any more, the last one; "" where it is not suspended."""
    recorded = scene.recorded.get(ref)
    if recorded is not None and recorded.suspended:
        return recorded.suspended
    last = recorded.spec if recorded is not None else {}
    declared = getattr(desired.spec, "suspend", False) if desired is not None else last.get("suspend", False)
    return "spec.suspend is true" if declared else ""


@dataclass(frozen=True, slots=True)
class Assessment:
    """A resource's state in words people and programs read: conditions, lifecycle, and the numbers of its table row."""

    conditions: tuple[Condition, ...]
    lifecycle: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Extra columns for `get`, by upper-case header."""


@dataclass(frozen=True, slots=True)
class Controller:
    """The row of one kind in `controllers/table.py`.

    `observe(world, sighting, scene, desired, refs)` returns what was found for each ref (desired or only present);
    `present(sighting, set)` lists the refs of this set that exist in the world, declared or not; `applied` is the
    normal form that the world itself says was last made true, None where it cannot tell.
    """

    kind: str
    present: Callable[[Sighting, str], frozenset[Ref]]
    observe: Callable[[World, Sighting, Scene, Mapping[Ref, Resource[Any]], frozenset[Ref]], Mapping[Ref, Any]]
    applied: Callable[[Any], Normal | None]
    plan: Callable[[Ref, Resource[Any] | None, Any, Scene], Change]
    forget: Callable[[Ref, Any], tuple[Step, ...]]
    """What a former name still holds in the world, let go once its successor is in place."""
    assess: Callable[[Ref, Resource[Any] | None, Any, Scene], Assessment]

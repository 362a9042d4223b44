"""What the store gives and takes, as values: any caller may import them, for they cost no SQLAlchemy.

Times are timezone-aware UTC. `resource_version` grows with every stored write to any object of the database and is
the compare-and-swap token; `generation` grows only when the normal form of the spec changes (R2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.envelope import Metadata, Ref
from nexus_ctl.resources.normal import Normal

EventType = Literal["Normal", "Warning"]
Outcome = Literal["done", "failed"]


@dataclass(frozen=True, slots=True)
class Declaration:
    """What is wished of one object. `expect` is the resource version it was decided on; None to take any."""

    ref: Ref
    spec: Normal
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Assessed:
    """A fresh assessment of one object, to be stored. `expect` as in `Declaration`."""

    ref: Ref
    conditions: tuple[Condition, ...]
    observed_generation: int
    lifecycle: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Suspension:
    """A suspension made at the command line (R26). `until` None: until resumed."""

    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as last declared and last assessed.

    `observed_generation` 0, no conditions and an empty `lifecycle` mean "never assessed". `suspended` is None as soon
    as its time is over.
    """

    set: str
    ref: Ref
    generation: int
    resource_version: int
    spec: Normal
    spec_digest: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    conditions: tuple[Condition, ...]
    lifecycle: str
    columns: Mapping[str, str]
    observed_generation: int
    suspended: Suspension | None
    former_names: tuple[str, ...]
    deletion_requested_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def protected(self) -> frozenset[str]:
        """What is forbidden to do to it: subset of {delete, replace}. It lives on when the manifest is gone (R18)."""
        return Metadata(self.ref.name, self.labels, self.annotations).protect


@dataclass(frozen=True, slots=True)
class Revision:
    """One spec an object has had (R16). `number` orders them; the same spec twice is one revision, the newer."""

    ref: Ref
    number: int
    generation: int
    spec: Mapping[str, Any]
    digest: str
    cause: str
    actor: str
    commit: str
    op_id: str
    created_at: datetime
    result: str
    """How its last roll-out ended, "" while that is open."""
    stable_since: datetime | None
    """When it had stayed Ready long enough to be trusted; None while it has not."""
    ready_since: datetime | None = None
    """When this generation of it was found Ready after a roll-out or a restart; None while it never was."""
    why: str = ""
    """Why its roll-out failed; "" where it did not."""

    @property
    def stable(self) -> bool:
        """True when a rollback may trust it."""
        return self.stable_since is not None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An effect that was begun and whose outcome nobody wrote down: observe, then end it (R11 c)."""

    op_id: str
    seq: int
    set: str
    ref: Ref
    action: str
    actor: str
    command: str
    begun_at: datetime


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One effect on the world: who asked for it with which command, what was done, how it ended."""

    id: int
    op_id: str
    seq: int
    set: str
    ref: Ref
    action: str
    actor: str
    command: str
    begun_at: datetime
    ended_at: datetime
    outcome: Outcome
    error: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling (R25). `reason` is one CamelCase word, `message` one for people."""

    type: EventType
    reason: str
    message: str
    set: str
    ref: Ref
    generation: int = 0
    op_id: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as kept. `id` grows with every sighting, so that watching from an id also shows repetitions."""

    id: int
    event: Event
    count: int
    first: datetime
    last: datetime

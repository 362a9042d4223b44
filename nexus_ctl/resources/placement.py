"""Who needs how much memory, where there is room, and what was decided: the words of placement, as values.

Placement decides over them, planning and views print them. Bytes everywhere. A device's id is its UUID; `HOST` is the
machine's RAM, a room like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Strategy = Literal["pack", "spread"]
"""`pack` fills the fullest device that fits, `spread` takes the emptiest."""


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run a replica: `claims[i]` bytes on the i-th of as many different devices, `host_bytes` beside them.

    No claims = on the host alone. `label` says it in words (`all layers`, `24 of 33 layers`, `over 2 devices`).
    """

    label: str
    claims: tuple[int, ...]
    host_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Bytes everywhere."""
        return sum(self.claims) + self.host_bytes


@dataclass(frozen=True, slots=True)
class Demand:
    """A replica that wants a place. `options` in order of preference; the first that fits anywhere is taken.

    `pins`: only these devices, all others are out; empty = any. A higher `priority` is placed first and may evict.
    """

    name: str
    options: tuple[Option, ...]
    priority: int = 0
    pins: frozenset[str] = frozenset()
    strategy: Strategy = "pack"


@dataclass(frozen=True, slots=True)
class Room:
    """What a device offers: `budget_bytes` of its total at most, less what others hold and what is kept in reserve."""

    id: str
    total_bytes: int
    budget_bytes: int
    others_bytes: int = 0
    reserve_bytes: int = 0
    lost: bool = False

    @property
    def open_bytes(self) -> int:
        """Bytes that nexusctl's replicas may take together."""
        if self.lost:
            return 0
        return max(0, min(self.budget_bytes, self.total_bytes - self.others_bytes - self.reserve_bytes))


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where a replica lies: bytes by room."""

    name: str
    option: str
    claims: Mapping[str, int]


class Verdict(StrEnum):
    """What a room is to a demand."""

    CHOSEN = "chosen"
    FITS = "fits"
    """It would fit; another room is taken by the strategy."""
    SHORT = "short"
    PINNED_ELSEWHERE = "pinned-elsewhere"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Weighed:
    """One room held against one claim: the arithmetic. `missing_bytes` is 0 where it fits."""

    room: str
    verdict: Verdict
    open_bytes: int
    needed_bytes: int

    @property
    def missing_bytes(self) -> int:
        """Bytes that would have to become free."""
        return max(0, self.needed_bytes - self.open_bytes) if self.verdict is Verdict.SHORT else 0

    def __str__(self) -> str:
        if self.verdict is Verdict.SHORT:
            return f"{self.room}: {self.needed_bytes} needed, {self.open_bytes} open, {self.missing_bytes} missing"
        return f"{self.room}: {self.verdict} ({self.needed_bytes} needed, {self.open_bytes} open)"


class RemedyKind(StrEnum):
    """What somebody could do. The value is the sentence; `{room}` and `{size}` are filled in by who prints it."""

    FREE = "free {size} on {room}"
    BUDGET = "raise the budget of {room} by up to {size}"
    STACK_BUDGET = "raise the stack's memory budget by {size}"
    TOO_SMALL = "{room} is too small: {size} in all"
    ALLOW = "allow {room}"
    MORE_ROOMS = "{room}"
    """In words of its own: the number of devices is not enough."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One thing that would help. `room` is a device's id (or words of their own), `bytes` what it is about."""

    kind: RemedyKind
    room: str = ""
    bytes: int = 0

    def __str__(self) -> str:
        return self.kind.value.format(room=self.room, size=f"{self.bytes} bytes")


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one demand. `weighed` speaks of the option taken, or of the smallest one where none fits.

    `remedies` says what would make it fit, cheapest first; empty when it does.
    """

    demand: str
    assignment: Assignment | None
    weighed: tuple[Weighed, ...]
    remedies: tuple[Remedy, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """All decisions, by demand name, and what is left open in each room."""

    decisions: tuple[Decision, ...]
    left_bytes: Mapping[str, int]

    @property
    def unplaced(self) -> tuple[str, ...]:
        """Names of the demands that found no place."""
        return tuple(decision.demand for decision in self.decisions if decision.assignment is None)


@dataclass(frozen=True, slots=True)
class Resident:
    """A replica that lies somewhere and might go. `kept` = never evicted (pinned by its manifest)."""

    assignment: Assignment
    priority: int = 0
    kept: bool = False
    idle_seconds: float = 0.0
    resident_seconds: float = float("inf")


@dataclass(frozen=True, slots=True)
class Eviction:
    """Who must go so that a demand fits, and where it then goes."""

    victims: tuple[str, ...]
    assignment: Assignment

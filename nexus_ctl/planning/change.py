"""A change: one resource's part of a plan, with a reason for everything it does (R4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nexus_ctl.planning.action import Action
from nexus_ctl.planning.diff import FieldChange
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.memory import Estimate

if TYPE_CHECKING:
    from nexus_ctl.planning.gap import Gap
    from nexus_ctl.resources.artifact import Forecast


class Verb(StrEnum):
    """What happens to a resource. The value is the JSON word."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE_START_FIRST = "replace-start-first"
    REPLACE_STOP_FIRST = "replace-stop-first"
    RESTART = "restart"
    ADOPT = "adopt"
    FORGET = "forget"
    DELETE = "delete"
    PRUNE = "prune"
    NO_OP = "no-op"
    BLOCKED = "blocked"


SYMBOLS = {
    Verb.CREATE: "+",
    Verb.UPDATE: "~",
    Verb.REPLACE_START_FIRST: "+/-",
    Verb.REPLACE_STOP_FIRST: "-/+",
    Verb.RESTART: "*",
    Verb.ADOPT: "<",
    Verb.FORGET: "x",
    Verb.DELETE: "-",
    Verb.PRUNE: "-",
    Verb.NO_OP: " ",
    Verb.BLOCKED: "#",
}

REMOVING = frozenset({Verb.DELETE, Verb.PRUNE, Verb.FORGET})


@dataclass(frozen=True, slots=True)
class Reason:
    """Why. `code` is stable; consumers must accept codes they do not know."""

    code: str
    path: str = ""
    before: Any = None
    after: Any = None
    on_change: str = ""
    source: str = "config"
    """config | drift | dependency | request"""
    detail: str = ""

    @classmethod
    def of(cls, change: FieldChange) -> Reason:
        """The reason a differing field gives."""
        return cls("field_changed", change.path, change.before, change.after, change.on_change.value)


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a change. `needs` are indices of earlier steps of the same change.

    A step with `rescues` runs only when that step failed; it belongs to the way back, not to the way.
    """

    action: Action
    needs: tuple[int, ...] = ()
    rescues: int | None = None


@dataclass(frozen=True, slots=True)
class PlannedBuild:
    """One step of what is built: its words, and what will come of it."""

    step: str
    forecast: Forecast


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done to one resource, why, and how. `notes` are lines for people (bytes, strategy, gap)."""

    ref: Ref
    verb: Verb
    reasons: tuple[Reason, ...] = ()
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    """Lines for "changed outside nexusctl"."""
    restarts: int = 0
    """Replicas that end and begin again (or anew)."""
    download_bytes: int = 0
    disk_bytes: int = 0
    """What it takes of the model cache's disk while it lasts."""
    temporary_bytes: int = 0
    """Of those, what the Model does not hold in the end: what it is built from, an archive beside its member."""
    builds: tuple[PlannedBuild, ...] = ()
    gap: Gap | None = None
    """Time without service; None when none is expected."""
    memory: Estimate | None = None
    """What each replica that is to be made will take, where that is known."""
    destroys_data: bool = False
    untouched: tuple[str, ...] = ()
    """Replicas that are left alone."""

    @property
    def codes(self) -> tuple[str, ...]:
        """The distinct reason codes, in order of first appearance."""
        return tuple(dict.fromkeys(reason.code for reason in self.reasons))


def chain(*actions: Action, after: tuple[int, ...] = (), offset: int = 0) -> tuple[Step, ...]:
    """Steps that follow one another; the first needs `after`. `offset` is the index the first will have."""
    return tuple(Step(action, (offset + i - 1,) if i else after) for i, action in enumerate(actions))


def on_the_way(steps: tuple[Step, ...]) -> tuple[int, ...]:
    """Indices of the steps that are not on the way back: those that neither rescue nor follow one that does."""
    back: set[int] = set()
    for index, step in enumerate(steps):
        if step.rescues is not None or not back.isdisjoint(step.needs):
            back.add(index)
    return tuple(index for index in range(len(steps)) if index not in back)

"""What execution tells while it works: values that the command line shows, the store keeps and tests compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from nexus_ctl.errors import NexusError
from nexus_ctl.planning.plan import Node
from nexus_ctl.resources.artifact import Progress


class Status(StrEnum):
    """How a node of the plan ended."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Something it needed did not happen, or the work was interrupted."""
    NOT_NEEDED = "not-needed"
    """A way back that nobody had to go."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one node. `because` is the node whose failure skipped it; None for an interruption."""

    node: Node
    status: Status
    error: NexusError | None = None
    because: int | None = None
    note: str = ""
    """What its owner should hear of though it is done."""


@dataclass(frozen=True, slots=True)
class Began:
    """A node was started."""

    node: Node


@dataclass(frozen=True, slots=True)
class Fetching:
    """A download moved on."""

    node: Node
    progress: Progress


Report = Callable[[Began | Fetching | Outcome], None]

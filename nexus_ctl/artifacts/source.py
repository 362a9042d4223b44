"""What a source answers: the offer, and the parts that make it up. Values only.

A source decides *what* to bring and how to know that it is right; `cache.py` brings it. So every remote source shares
one download, one verification and one way into the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nexus_ctl.artifacts.transfer.throttle import Throttle
from nexus_ctl.clock import Clock
from nexus_ctl.resources.artifact import HEADROOM_BYTES, Offer

if TYPE_CHECKING:
    from nexus_ctl.artifacts.builds.tools import Tool


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a source is given. Failures count from the last time that real progress was made."""

    failures: int = 6
    first_delay_seconds: float = 0.5
    longest_delay_seconds: float = 30.0
    longest_asked_seconds: float = 300.0
    """A server that asks to be left alone for longer ends the attempt."""
    stall_seconds: float = 60.0
    """Without a byte for so long, a connection counts as dead."""

    def delay_seconds(self, failures: int) -> float:
        """Doubles with each failure in a row, up to the longest."""
        return min(self.first_delay_seconds * 2.0 ** (failures - 1), self.longest_delay_seconds)


@dataclass(frozen=True, slots=True)
class Means:
    """What sources and downloads work with; handed down from whoever makes the cache."""

    clock: Clock
    environ: Mapping[str, str]
    """Where a source finds the settings of its own tools (pip's, the hub's)."""
    patience: Patience = Patience()
    free_memory: Callable[[], int | None] = lambda: None
    """Bytes of memory that a build may take; None when unknown."""
    throttle: Throttle | None = None
    """What all downloads together are held to; None: as fast as it goes."""
    reserve_bytes: int = HEADROOM_BYTES
    """Room that downloads leave on the cache's disk."""
    image_tools: Callable[[], Iterable[Tool]] = tuple
    """The tools in container images of this machine (`image_tool.ImageTools`)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file to bring. Without any digest the length that the server states is the only check."""

    name: str
    """Relative path of the file within the artifact, with `/`."""
    url: str
    """`http`, `https`, or `file` for one that is on this machine; may hold credentials, so it is never shown."""
    size_bytes: int | None
    sha256: str | None = None
    git_oid: str | None = None
    """SHA-1 that git gives the file as a blob; what the hub states for small files."""
    validator: str | None = None
    """Strong ETag or Last-Modified, so that a partial of another version is never continued."""


@dataclass(frozen=True, slots=True)
class HubPlace:
    """Where the Hugging Face client keeps the parts: its cache folder, and the repository, revision and commit."""

    cache: str
    repo: str
    revision: str
    commit: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """An offer with its parts. With `member` the one part is a zip file and the artifact that member of it."""

    offer: Offer
    parts: tuple[Part, ...]
    token: str | None = field(default=None, repr=False)
    """What opens the parts; never stored."""
    member: str = ""
    hub: HubPlace | None = None
    terms: Mapping[str, str] = field(default_factory=dict)
    """Licence and access as the hub states them with the files; empty where it was not asked."""

"""A model file as a value: what is asked for, what a source offers, what is on disk, and who uses it."""

from __future__ import annotations

from dataclasses import dataclass

from nexus_ctl.resources.model import Source
from nexus_ctl.resources.normal import digest


@dataclass(frozen=True, slots=True)
class Request:
    """What a Model asks for: its source (paths absolute) and the digest it must have, if declared."""

    source: Source
    sha256: str | None = None

    @property
    def key(self) -> str:
        """16 hex digits that name this request in the cache; equal for equal sources."""
        pinned = self.source.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"token"})
        return digest({"source": pinned, "sha256": self.sha256})


@dataclass(frozen=True, slots=True)
class Offer:
    """What a source says it would deliver, before a byte of it moves.

    `identity` pins the content: `sha256:<hex>` where the source knows it, else the strongest thing it says
    (`etag:...`, `size:...`). `size_bytes` is None when the source does not say.
    """

    identity: str
    size_bytes: int | None
    origin: str
    """For people: a file, a URL without credentials, a wheel's member."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified file on disk. `identity` is the one of the offer it was fetched for, so that names stay the same."""

    path: str
    sha256: str
    size_bytes: int
    identity: str
    origin: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fetch is. `phase` is `download`, `verify` or `extract`; rates are the reader's business."""

    phase: str
    done_bytes: int
    total_bytes: int | None


@dataclass(frozen=True, slots=True)
class Pin:
    """Which Model of which stack uses which request; read back as the observed Model."""

    instance: str
    set: str
    model: str
    key: str
    spec: str
    """Canonical JSON of the Model's normal form."""
    protected: str = ""

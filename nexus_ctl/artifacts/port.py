"""The port of the model cache: resolve what a source offers, find what is here, fetch what is missing, pin, remove.

A file becomes visible under its digest only after it was verified: written as `*.partial`, fsynced, hashed, renamed,
and only then recorded (R11 d). Pins say which stack uses an artifact; nothing pinned is ever collected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nexus_ctl.resources.model import Source


@dataclass(frozen=True, slots=True)
class Request:
    """What a Model asks for: its source (paths absolute) and the digest it must have, if declared."""

    source: Source
    sha256: str | None = None

    @property
    def key(self) -> str:
        """16 hex digits that name this request in the cache; equal for equal sources."""
        from nexus_ctl.resources.normal import digest

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


ProgressSink = Callable[[Progress], None]


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


class Artifacts(Protocol):
    """The model cache and the sources behind it. Methods block; network faults are Retryable, refusals Terminal."""

    def find(self, request: Request) -> Artifact | None:
        """The verified artifact of a request, from disk alone; None when missing or when the bytes have changed."""
        ...

    def resolve(self, request: Request, token: str | None = None) -> Offer:
        """Ask the source what it would deliver. Raises Terminal (does not exist, forbidden) or Retryable."""
        ...

    def partial_bytes(self, request: Request) -> int:
        """Bytes of an interrupted download that a fetch would not ask for again."""
        ...

    def fetch(self, request: Request, offer: Offer, progress: ProgressSink, token: str | None = None) -> Artifact:
        """Deliver and verify. Present already: no transfer. Raises IntegrityError, Terminal, Retryable."""
        ...

    def pins(self, instance: str, set_name: str) -> tuple[Pin, ...]:
        """The pins of one stack, sorted by model."""
        ...

    def pin(self, pin: Pin) -> None:
        """Write a pin; one that is there is replaced."""
        ...

    def unpin(self, pin: Pin, *, delete_bytes: bool) -> int:
        """Remove a pin. With `delete_bytes` the artifact goes too unless another pin holds it; bytes freed."""
        ...

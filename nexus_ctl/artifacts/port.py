"""The port of the model cache: resolve what a source offers, find what is here, fetch what is missing, pin, remove.

A file becomes visible under its digest only after it was verified: written as `*.partial`, fsynced, hashed, renamed,
and only then recorded (R11 d). Pins say which stack uses an artifact; nothing pinned is ever collected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from nexus_ctl.resources.artifact import (
    Artifact,
    Forecast,
    Offer,
    Pin,
    ProgressSink,
    RemoteFinding,
    Request,
    Room,
    Upstream,
    Verdict,
)
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.lock import LockedBuild, LockedFile
from nexus_ctl.resources.weights import GgufHeader


class Artifacts(Protocol):
    """The model cache and the sources behind it. Methods block; network faults are Retryable, refusals Terminal."""

    def find(self, request: Request) -> Artifact | None:
        """The verified artifact of a request, from disk alone; None when missing or when the bytes have changed.

        Of what was built, also None when an input that is here is another one than it was built from.
        """
        ...

    def resolve(self, request: Request, token: str | None = None) -> Offer:
        """Ask the source what it would deliver. Raises Terminal (does not exist, forbidden) or Retryable."""
        ...

    def header(self, request: Request, token: str | None = None, file: str = "") -> GgufHeader | None:
        """The model's header: from disk where the file is here, else by a few range requests, before any download.

        Of what is yet to be built, the header that it will have. `file` says which of several files is meant. None
        where there is none to be had: an unclear choice, a header that breaks the rules, a source without ranges, or
        one that does not answer. Raises Terminal (`not-gguf`) for a file that is something else.
        """
        ...

    def checkpoint(self, request: Request, token: str | None = None) -> Checkpoint | None:
        """Configuration and tensor table of a repository of safetensors, before any download: from disk where it is
        here, else by a few range requests of each file. None where there is none to be had, as `header`."""
        ...

    def partial_bytes(self, request: Request) -> int:
        """Bytes of an interrupted download that a fetch would not ask for again."""
        ...

    def fetch(self, request: Request, offer: Offer, progress: ProgressSink, token: str | None = None) -> Artifact:
        """Deliver and verify. Present already: no transfer. Raises IntegrityError, Terminal, Retryable."""
        ...

    def forecast(self, request: Request, token: str | None = None) -> Forecast:
        """What the last step of `request` will make and by which tool, from headers alone, before any download.

        Raises Terminal where it cannot be made of this model, or no tool is found; Retryable.
        """
        ...

    def build(self, request: Request, identity: str, progress: ProgressSink, tool: str = "") -> Artifact:
        """Carry out the last step of `request`, whose inputs are here, by the tool that the forecast named, or "" for
        the first that is here; the result gets `identity`.

        Made before from the same inputs, by whichever stack: nothing is done. Waits while another process builds the
        same. Raises Retryable (an input is not here any more), Terminal, IntegrityError.
        """
        ...

    def locked_builds(self, request: Request, token: str | None = None, *, anew: bool) -> tuple[LockedBuild, ...]:
        """What a lock writes of each step of a locked `request`, as far as the content of all inputs is known.

        An entry of the request's lock that is of the same recipe and inputs stays, with `anew` only where the result
        is not here; otherwise what is here counts, and of what is not built yet the forecast. Raises as `forecast`.
        """
        ...

    def contents(
        self, request: Request, progress: ProgressSink, token: str | None = None, *, ask: bool
    ) -> tuple[str, Mapping[str, LockedFile]]:
        """(commit, files by name) of a request as a lock writes them, whatever it is locked to.

        Without `ask` what is here counts, and the source is asked for what is not; with it, what the source offers now.
        Brings the bytes only where the source states no digest of them. Raises as `resolve` and `fetch`.
        """
        ...

    def upstream(self, asked: Mapping[str, tuple[Request, str | None]], *, look: bool) -> Mapping[str, Upstream]:
        """Whether what sources follow has moved on from what is held or locked; keys as in `asked`, with its tokens.

        With `look` each source is asked, once, all within a moment; without, and where none answers, it is what was
        seen last. A source that follows nothing, or was never looked at, is left out. Never raises.
        """
        ...

    def room(self, needed_bytes: int) -> Room:
        """The cache's disk, for something of that size."""
        ...

    def verify(self, request: Request, progress: ProgressSink) -> tuple[Verdict, ...]:
        """Read every file of the request again, whatever is remembered of it; sorted by name.

        A corrupt file of the cache is put aside, so that the next fetch brings it again; a `path` is left alone. Empty
        where nothing says which files there should be.
        """
        ...

    def verify_remote(self, request: Request, token: str | None = None) -> tuple[RemoteFinding, ...]:
        """What is held or locked of the request's source, against what the source says now; nothing is downloaded.

        Empty where nothing is held, and of a file of this machine. What the source refuses, or that it does not
        answer, is a finding; never raises for it.
        """
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

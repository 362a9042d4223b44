"""A model file as a value: what is asked for, what a source offers, what is on disk, and who uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from nexus_ctl.resources.lock import SHA256, Locked, LockedBuild
from nexus_ctl.resources.model import Source
from nexus_ctl.resources.normal import digest, normalise

HEADROOM_BYTES = 256 << 20
"""Room that a download or a pull leaves on its disk for everything else."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """A build step: the quantization called `type`, by the weights of `imatrix` if there is one."""

    type: str
    imatrix: Request | None = None

    @property
    def words(self) -> str:
        """For people: `quantize Q4_K_M`."""
        return f"quantize {self.type}"

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the result besides the inputs."""
        return {"quantize": self.type}

    @property
    def inputs(self) -> tuple[Request, ...]:
        """What it needs besides the step before it."""
        return (self.imatrix,) if self.imatrix is not None else ()


@dataclass(frozen=True, slots=True)
class Conversion:
    """A build step: the GGUF of a folder of safetensors, its numbers as `type`; of an adapter for `model`, if that is
    given."""

    type: str
    model: Request | None = None

    @property
    def words(self) -> str:
        """For people: `convert to GGUF, bf16`."""
        return f"convert {'' if self.model is None else 'the adapter '}to GGUF, {self.type}"

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the result besides the inputs."""
        return {"convert": self.type}

    @property
    def inputs(self) -> tuple[Request, ...]:
        """What it needs besides the source."""
        return (self.model,) if self.model is not None else ()


BuildStep = Conversion | Quantization


@dataclass(frozen=True, slots=True)
class Request:
    """What a Model asks for: its source (paths absolute), the digest that must have, and what is built from it.

    Without `steps` the file as the source delivers it; otherwise the result of the last step, whose input is `base`.

    The lock is no part of the key: it says which bytes of the source are meant, not what is asked for, so that locking
    what is here changes nothing.
    """

    source: Source
    sha256: str | None = None
    steps: tuple[BuildStep, ...] = ()
    locked: Locked | None = None

    @property
    def key(self) -> str:
        """16 hex digits that name this request in the cache; equal for equal sources and steps."""
        asked: dict[str, Any] = {"source": self.pinned, "sha256": self.sha256}
        if self.steps:
            asked["steps"] = [[step.recipe, [one.key for one in step.inputs]] for step in self.steps]
        return digest(asked)

    @property
    def base(self) -> Request:
        """What the last step works on."""
        return replace(self, steps=self.steps[:-1])

    @property
    def inputs(self) -> tuple[Request, ...]:
        """All that the last step needs, the base first."""
        return (self.base, *self.steps[-1].inputs)

    def identity_from(self, inputs: Iterable[str]) -> str:
        """The identity of the result, from those of `inputs` in order: known before anything is built.

        The tool is not in it: another release of it makes nothing anew. The digest that binds the result is.
        """
        bound = [self.bound] if self.bound else []
        return f"built:{digest([self.steps[-1].recipe, *inputs, *bound], 64)}"

    @property
    def locked_build(self) -> LockedBuild | None:
        """What the lock says of the last step."""
        builds = self.locked.builds if self.locked is not None else ()
        return builds[len(self.steps) - 1] if 0 < len(self.steps) <= len(builds) else None

    @property
    def bound(self) -> str:
        """The SHA-256 that the last step's result must have; "" where nothing binds it."""
        build = self.locked_build
        strict = self.locked is not None and self.locked.strict
        return build.digest.removeprefix(SHA256) if build is not None and strict else ""

    @property
    def wanted(self) -> str | None:
        """The SHA-256 the one file must have, declared or locked."""
        return self.sha256 or (self.locked.sha256 if self.locked is not None else None)

    @property
    def pinned(self) -> dict[str, Any]:
        """The normal form of the source without its token: all that says which bytes are meant."""
        return {name: value for name, value in normalise(self.source).items() if name != "token"}


@dataclass(frozen=True, slots=True)
class Offer:
    """What a source says it would deliver, before a byte of it moves.

    `identity` pins the content: `sha256:<hex>` where the source knows it, else the strongest thing it says
    (`etag:...`, `size:...`). `size_bytes` is what a fetch would transfer, interrupted downloads apart: what this
    machine holds already (a local wheel, the Hugging Face cache) is not in it; None when the source does not say.
    """

    identity: str
    size_bytes: int | None
    origin: str
    """For people: a file, a URL without credentials, a wheel's member."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """So many tensors whose rows do not divide into the blocks of `wanted`, and become `type` instead."""

    wanted: str
    type: str
    tensors: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a build step will make, before anything of it is there. Sizes are exact; None when the source shows no
    header before it is here."""

    size_bytes: int | None
    tool: str
    """What will do it, with its version, for people."""
    bits_per_weight: float | None
    notes: tuple[str, ...] = ()
    """What a person should know before, besides the figures."""
    tensors: int | None = None
    fallbacks: tuple[Fallback, ...] = ()
    quantized_before: tuple[str, ...] = ()
    """The quantized types that the source holds already: what those lost stays lost."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """Verified content on disk. `identity` is the one of the offer it was fetched for, so that names stay the same."""

    path: str
    """What an engine is given: the file; of a split GGUF its first part, beside the others; else the folder."""
    sha256: str
    """Of the file; of the list of names and digests when there are several."""
    size_bytes: int
    identity: str
    origin: str
    files: tuple[str, ...] = ()
    """All paths when the artifact is more than one file, sorted by name; else empty."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """What the branch or tag of a source names by now, as last seen; equal commits: nothing of ours moved.

    `seen_at` is ISO 8601, "" for never; `error` says why the last look failed, "" when it did not.
    """

    revision: str
    held: str
    now: str
    files: int = 0
    """How many of the chosen files are others than those held, and their bytes."""
    size_bytes: int = 0
    seen_at: str = ""
    error: str = ""

    @property
    def moved(self) -> bool:
        return self.now != self.held


@dataclass(frozen=True, slots=True)
class Room:
    """The disk of the model cache. `reserve_bytes` of `free_bytes` are kept for everything else."""

    place: str
    free_bytes: int
    reserve_bytes: int
    reclaimable_bytes: int = 0
    """What `models gc` would free; looked up only where room is short."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One file, read again from the first byte to the last. `state` is `ok`, `corrupt`, `missing`, or `differs`: whole,
    but built to other bytes than the lock pins."""

    name: str
    path: str
    state: str
    size_bytes: int
    expected: str
    """The digest it must have: `sha256:<hex>` or `git:<sha-1>`; "" where nothing says."""
    found: str = ""
    aside: str = ""
    """Where a corrupt file of the cache was put; "" when it was left where it is."""


@dataclass(frozen=True, slots=True)
class RemoteFinding:
    """One thing that is held of a source, against what the source says now.

    `subject` is a file, `revision main`, `commit 1a2b3c4`, `access`, `licence` or `source`; `state` is `ok`, `moved`,
    `changed`, `new` (chosen by the patterns, and not held), `gone`, `refused` (this token may not read it) or `unknown`
    (the source was not asked, or did not answer: `now` says why). `held` and `now` are "" where nothing is known.
    """

    subject: str
    state: str
    held: str = ""
    now: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fetch or a build is. `phase` is `download`, `verify`, `extract`, `convert`, `quantize`; rates are the
    reader's business."""

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

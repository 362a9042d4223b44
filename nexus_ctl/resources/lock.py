"""What `nexus.lock` says, as a value: for each Model what was asked and what that came to, for each image its digest.

`manifest/lock.py` reads and writes it, the cache holds sources and files against it, `planning/lock_diff.py` compares
two. The rule: an entry speaks of one wish, the `source` and the steps it was made for; of another wish it says nothing.
It never holds a secret: no token, no user part, no query of an address.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from nexus_ctl.resources.model import ModelSpec, Source
from nexus_ctl.resources.normal import Normal, normalise

SHA256, GIT = "sha256:", "git:"


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One file to the byte. `digest` is `sha256:<hex>`, or `git:<sha-1>` of a file that a hub keeps in git itself and
    states no other digest of."""

    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class LockedBuild:
    """What one build step comes to. `step` is `convert` or `quantize`, `type` what it makes.

    `key` names the recipe and the content of all inputs, 64 hex digits; the tool is none of it, so that of another
    release's result one can say that it is another. Until known `size_bytes` is None, and `digest` (`sha256:<hex>`) "".
    """

    step: str
    type: str
    key: str
    tool: str
    """What made it, or would have: its name and version."""
    size_bytes: int | None = None
    digest: str = ""

    @property
    def words(self) -> str:
        """For people: `quantize Q4_K_M`."""
        return f"{self.step} {self.type}"


@dataclass(frozen=True, slots=True)
class Locked:
    """What a Model's source came to, and what was built of it. `commit` is what the asked revision named; "" where a
    source has none."""

    source: Normal
    files: Mapping[str, LockedFile]
    commit: str = ""
    builds: tuple[LockedBuild, ...] = ()
    """One a step, in their order; empty where the lock says nothing of them."""
    strict: bool = False
    """Builds, too, are what is locked or an error (`--locked`)."""

    @property
    def sha256(self) -> str | None:
        """Of the one file; None where there are several, or its digest is another one."""
        digests = [file.digest for file in self.files.values()]
        return digests[0].removeprefix(SHA256) if len(digests) == 1 and digests[0].startswith(SHA256) else None

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files.values())


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock file. Images by the reference that a Deployment gives, as `sha256:<hex>`."""

    models: Mapping[str, Locked] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    """See `Locked.strict`; a way of using the lock, and nothing that its file says."""

    def of(self, name: str, spec: ModelSpec) -> Locked | None:
        """The entry of a Model, without what it says of other steps; None where there is none, or of another source."""
        entry = self.models.get(name)
        if entry is None or source_contradictions(entry, spec):
            return None
        return replace(entry, builds=() if step_contradictions(entry, spec) else entry.builds, strict=self.strict)


def asked(source: Source, folder: str) -> dict[str, Any]:
    """A source as the lock writes it: every word that says which bytes are meant, and no secret.

    A path is relative to `folder`, the stack's; the revision stands there even where it is the default.
    """
    form = {name: value for name, value in normalise(source).items() if name != "token"}
    if source.path is not None:
        form["path"] = os.path.relpath(source.path, folder)
    if source.url is not None:
        parts = urlsplit(source.url)
        form["url"] = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    if source.hugging_face is not None:
        form["huggingFace"] = {**form["huggingFace"], "revision": source.hugging_face.revision}
    return form


def contradictions(entry: Locked, spec: ModelSpec) -> tuple[tuple[str, ...], ...]:
    """Where the manifest asks for something else than the entry was made for: paths of fields from `spec`, in order."""
    return (*source_contradictions(entry, spec), *step_contradictions(entry, spec))


def step_contradictions(entry: Locked, spec: ModelSpec) -> tuple[tuple[str, ...], ...]:
    """The same of what is built; an entry that says nothing of builds contradicts none."""
    have = {build.step: build.type for build in entry.builds}
    asked_for = {"convert": spec.convert, "quantize": spec.quantize}
    want = {step: one.type for step, one in asked_for.items() if one is not None}
    if not have:
        return ()
    both = have.keys() & want.keys()
    alone = [(step,) for step in sorted(have.keys() ^ want.keys())]
    return (*alone, *((step, "type") for step in sorted(both) if have[step] != want[step]))


def source_contradictions(entry: Locked, spec: ModelSpec) -> tuple[tuple[str, ...], ...]:
    """The same of the source. Moving a local file is none, because its content counts."""
    want, have = asked(spec.source, "/"), entry.source
    origins = [name for name in sorted(want.keys() | have.keys()) if (name in want) != (name in have)]
    if origins:
        return (("source",),)
    found: list[tuple[str, ...]] = []
    for origin in sorted(want.keys() - {"path"}):
        inner, before = want[origin], have[origin]
        if isinstance(inner, dict) and isinstance(before, dict):
            keys = sorted(inner.keys() | before.keys())
            found += [("source", origin, key) for key in keys if inner.get(key) != before.get(key)]
        elif inner != before:
            found.append(("source", origin))
    if spec.sha256 is not None and entry.sha256 not in (None, spec.sha256):
        found.append(("sha256",))
    return tuple(found)


def short(commit: str) -> str:
    """A commit or digest as people read it."""
    return commit.removeprefix(SHA256)[:7]

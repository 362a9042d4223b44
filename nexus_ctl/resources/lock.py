"""What `nexus.lock` says, as a value: for each Model what was asked and what that came to, for each image its digest.

`manifest/lock.py` reads and writes it, the cache holds sources and files against it, `planning/lock_diff.py` compares
two. The rule: an entry speaks of one wish, the `source` it was made for; of another wish it says nothing. It never
holds a secret: no token, no user part, no query of an address.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
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
class Locked:
    """What a Model's source came to. `commit` is what the asked revision named; "" where a source has none."""

    source: Normal
    files: Mapping[str, LockedFile]
    commit: str = ""

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

    def of(self, name: str, spec: ModelSpec) -> Locked | None:
        """The entry of a Model; None where there is none, or one of another wish."""
        entry = self.models.get(name)
        return entry if entry is not None and not contradictions(entry, spec) else None


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
    """Where the manifest asks for something else than the entry was made for: paths of fields from `spec`, in order.

    Moving a local file is none, because its content counts.
    """
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

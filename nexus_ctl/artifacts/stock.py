"""What is here: a request's record, and the artifact behind it. Disk alone; no network, no HTTP code loaded.

    request ── record ── its blobs, all whole? ──► Artifact

Asked by the cache and by previews of what is to be built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nexus_ctl.artifacts.builds.lock import build_key
from nexus_ctl.artifacts.disk import give_name
from nexus_ctl.artifacts.locking import content_of, delivered, is_locked
from nexus_ctl.artifacts.memo import Memo, has_blob
from nexus_ctl.artifacts.records import Layout, Record
from nexus_ctl.artifacts.sources import path as path_source
from nexus_ctl.errors import ActionError
from nexus_ctl.resources.artifact import Artifact, Request
from nexus_ctl.resources.catalog import SPLIT
from nexus_ctl.resources.lock import SHA256, LockedFile


@dataclass(frozen=True, slots=True)
class Stock:
    """The whole blobs of a cache, by what was asked for."""

    layout: Layout
    memo: Memo

    def find(self, request: Request) -> Artifact | None:
        """The artifact of a request; None when it is not whole here. A blob without its digest is moved to `bad/`."""
        if request.steps:
            return self._find_built(request)
        if request.source.path is not None:
            try:
                return path_source.in_place(request, self.memo)
            except ActionError:
                return None  # resolve says why
        record = self.record(request)
        return self.artifact(record) if record is not None and self._has_blobs(record) else None

    def _find_built(self, request: Request) -> Artifact | None:
        record = self.layout.read_record(request.key)
        if record is None or record.built is None or request.bound not in ("", record.sha256):
            return None
        for one in request.inputs:
            there = self.find(one)
            now = there.sha256 if there is not None else content_of(one)
            if now not in (None, record.built["inputs"].get(one.key)):
                return None
        return self.artifact(record) if self._has_blobs(record) else None

    def _has_blobs(self, record: Record) -> bool:
        return all(has_blob(self.layout, self.memo, file.sha256) for file in record.files)

    def record(self, request: Request) -> Record | None:
        """The record of a request's content, as it is locked if it is."""
        own = self.layout.read_record(request.key)
        if request.steps:
            return own  # the lock speaks of what it is built from
        return own if own is not None and is_locked(own, request.locked) else self._delivered_by_another(request)

    def _delivered_by_another(self, request: Request) -> Record | None:
        """A record of the same declared or locked content; it keeps its identity, so that stating a digest, or going
        back to an earlier lock, restarts nothing."""
        sha256, locked = request.wanted, request.locked
        if (sha256 is None and locked is None) or (sha256 is not None and not self.layout.blob(sha256).exists()):
            return None
        same = (
            record
            for record in self.layout.records()
            if is_locked(record, locked) and (sha256 is None or [file.sha256 for file in record.files] == [sha256])
        )
        return next(same, None)

    def artifact(self, record: Record) -> Artifact:
        """The record as an artifact; several files are given their own names, by hard links that a look repairs."""
        facts = (record.sha256, record.size_bytes, record.identity, record.origin)
        if len(record.files) == 1:
            return Artifact(str(self.layout.blob(record.sha256)), *facts)
        folder = self.layout.set_folder(record)
        for file in record.files:
            give_name(self.layout.blob(file.sha256), folder / file.name)
        files = tuple(str(folder / file.name) for file in record.files)
        is_split = all(SPLIT.match(file.name) for file in record.files)
        return Artifact(files[0] if is_split else str(folder), *facts, files)

    def build_key(self, request: Request) -> str:
        """What a lock calls the last step's recipe and inputs; "" while an input's content is unknown."""
        return build_key(request, self.files)

    def files(self, request: Request) -> Mapping[str, LockedFile]:
        """The files of a source as its lock says, else as they are here."""
        if request.locked is not None:
            return request.locked.files
        if request.source.path is not None:
            here = self.find(request)
            return {"": LockedFile(here.size_bytes, SHA256 + here.sha256)} if here is not None else {}
        record = self.record(request)
        return delivered(record) if record is not None else {}

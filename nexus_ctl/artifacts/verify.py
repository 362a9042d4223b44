"""Every byte of what is here, read again: `models verify`. Nothing that is remembered of a file is believed.

Called by `cache.py`, which holds the request's lock. The rule: a file of the cache whose content is not its name's is
moved to `bad/` at once, with the link that shared it, so that no later look finds it and the next fetch brings it
again. A `path` is somebody else's file and is only told of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nexus_ctl.artifacts.disk import git_oid_of, look, sha256_of
from nexus_ctl.artifacts.hub.cache import withdraw
from nexus_ctl.artifacts.memo import Memo
from nexus_ctl.artifacts.records import Layout, Record, StoredFile
from nexus_ctl.resources.artifact import Progress, ProgressSink, Verdict
from nexus_ctl.resources.lock import GIT, SHA256, LockedFile


def verify_blobs(
    layout: Layout, memo: Memo, record: Record | None, wanted: Mapping[str, LockedFile], progress: ProgressSink
) -> tuple[Verdict, ...]:
    """The files of a record, held against the digests they must have; a wanted one that is not here is missing."""
    files = {file.name: file for file in record.files} if record is not None else {}
    if len(files) == len(wanted) == 1:  # of a single file the name does not count
        files = dict(zip(wanted, files.values(), strict=True))
    total = sum(file.size_bytes for file in wanted.values())
    found: list[Verdict] = []
    for name, want in sorted(wanted.items()):
        done = sum(one.size_bytes for one in found)
        found.append(_blob(layout, memo, files.get(name), (name, want), _shifted(progress, done, total)))
    return tuple(found)


def verify_path(path: Path, memo: Memo, wanted: str | None, progress: ProgressSink) -> Verdict:
    """A file of somebody else's: held against the declared or locked SHA-256, else against what was last read of it."""
    there = look(path)
    if there is None or not path.is_file():
        return Verdict(path.name, str(path), "missing", 0, SHA256 + wanted if wanted else "")
    expected = wanted or memo.sha256(path)
    found = sha256_of(path, lambda done: progress(Progress("verify", done, there.st_size)))
    if found == expected:
        memo.remember(path, found)
    state = "ok" if found == expected else "corrupt"
    return Verdict(path.name, str(path), state, there.st_size, SHA256 + expected, SHA256 + found)


def _blob(
    layout: Layout, memo: Memo, file: StoredFile | None, wanted: tuple[str, LockedFile], tell: Callable[[int], None]
) -> Verdict:
    name, want = wanted
    hexes = want.digest.removeprefix(SHA256) if want.digest.startswith(SHA256) else file.sha256 if file else ""
    path = layout.blob(hexes) if hexes else None
    if path is None or look(path) is None:
        return Verdict(name, str(path or ""), "missing", want.size_bytes, want.digest)
    found = SHA256 + sha256_of(path, tell)
    if want.digest.startswith(GIT):
        found = GIT + git_oid_of(path)
    if found == want.digest:
        memo.remember(path, hexes)
        return Verdict(name, str(path), "ok", want.size_bytes, want.digest, found)
    memo.forget(path)
    layout.set_aside(path)
    if file is not None and file.shared:
        withdraw(Path(file.shared))
    return Verdict(name, str(path), "corrupt", want.size_bytes, want.digest, found, str(layout.bad(path.name)))


def _shifted(progress: ProgressSink, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(Progress("verify", before + done, total))

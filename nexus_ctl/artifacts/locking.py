"""A lock's entry against what a source offers and what is on disk. Pure comparisons for `stock.py`,
`sources/ask.py` and `cache.py`.

The rule: what is locked is that or an error. A source that states another digest is refused before a byte moves; a
record of other content counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping

from nexus_ctl.artifacts.records import Record, StoredFile
from nexus_ctl.artifacts.source import Parcel, Part
from nexus_ctl.errors import IntegrityError
from nexus_ctl.resources.artifact import Request
from nexus_ctl.resources.lock import GIT, SHA256, Locked, LockedFile
from nexus_ctl.resources.normal import digest

WAY_OUT = "somebody replaced what was pinned, or the lock is not this source's; to pin what is there now:\n"
WAY_OUT += "nexusctl models lock --upgrade"


def digest_of(part: Part) -> str:
    """The digest a source states of a file, as a lock writes it; "" when it states none."""
    if part.sha256 is not None:
        return SHA256 + part.sha256
    return GIT + part.git_oid if part.git_oid is not None else ""


def stated(parcel: Parcel) -> Mapping[str, LockedFile] | None:
    """The files of a parcel by name; None where the source does not state size and digest of each."""
    found = {part.name: LockedFile(part.size_bytes or 0, digest_of(part)) for part in parcel.parts}
    whole = not parcel.member and all(part.size_bytes is not None and digest_of(part) for part in parcel.parts)
    return found if whole else None


def delivered(record: Record) -> Mapping[str, LockedFile]:
    """The files of a record by name."""
    return {file.name: LockedFile(file.size_bytes, _kept(file)) for file in record.files}


def content_of(request: Request) -> str | None:
    """What `Artifact.sha256` of a request must be by its lock or declaration; None where nothing says."""
    if request.steps:
        return request.bound or None
    files = request.locked.files if request.locked is not None else {}
    hexes = [[name, file.digest.removeprefix(SHA256)] for name, file in sorted(files.items())]
    if len(files) < 2 or any(file.digest.startswith(GIT) for file in files.values()):
        return request.wanted
    return digest(hexes, 64)


def is_locked(record: Record, locked: Locked | None) -> bool:
    """True when the record's content is what is locked; of a single file its name does not count."""
    if locked is None:
        return True
    have, want = delivered(record), locked.files
    return have == want or (len(have) == len(want) == 1 and [*have.values()] == [*want.values()])


def hold(parcel: Parcel, locked: Locked | None) -> None:
    """Raises IntegrityError when the source states other files than are locked."""
    found = stated(parcel)
    if locked is None or found is None or parcel.hub is None:
        return  # what states no digest is held against the lock when it is here
    unlike = [name for name in sorted(found.keys() | locked.files.keys()) if found.get(name) != locked.files.get(name)]
    if unlike:
        names = ", ".join(unlike[:4])
        raise IntegrityError(f"{parcel.offer.origin} is not what the lock pins: {names}", hint=WAY_OUT)


def prove(origin: str, files: tuple[StoredFile, ...], locked: Locked | None) -> None:
    """Raises IntegrityError when what was brought is not what is locked."""
    if locked is None:
        return
    have, want = sorted(map(_kept, files)), sorted(file.digest for file in locked.files.values())
    if have != want:
        raise IntegrityError(f"{origin} delivered {', '.join(have)}; the lock pins {', '.join(want)}", hint=WAY_OUT)


def _kept(file: StoredFile) -> str:
    """By git's digest where the source stated that one, so that either way of finding out gives the same entry."""
    return GIT + file.git_oid if file.git_oid else SHA256 + file.sha256

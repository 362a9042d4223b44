"""An unfinished download on disk: the bytes so far, and a sidecar that says of what they are.

The sidecar is written before the first byte, so bytes without one are never continued. It holds no credentials. Its
`verified` is set when the content is proven, just before the file moves to its final place: a crash in between
costs no second transfer.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nexus_ctl.artifacts.disk import CHUNK_BYTES, look, read_json, write_atomic


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What the bytes of a partial are of. `origin` is for people."""

    key: str
    origin: str
    size_bytes: int | None
    sha256: str | None
    git_oid: str | None
    validator: str | None
    started_at: str
    verified: str = ""
    """SHA-256 of the whole content, once it is known to be right."""

    def continues(self, earlier: Sidecar) -> bool:
        """True when bytes of `earlier` are the beginning of these: same digest, or same version at the same place."""
        if self.sha256 is not None or self.git_oid is not None:
            return (self.sha256, self.git_oid) == (earlier.sha256, earlier.git_oid)
        same = (self.origin, self.validator, self.size_bytes) == (earlier.origin, earlier.validator, earlier.size_bytes)
        return same and self.validator is not None and earlier.sha256 is None and earlier.git_oid is None


@dataclass(frozen=True, slots=True)
class Partial:
    """The two files of one unfinished download."""

    path: Path

    @property
    def sidecar_path(self) -> Path:
        return self.path.with_suffix(".json")

    def sidecar(self) -> Sidecar | None:
        """None when there is none, or none that can be read."""
        try:
            value = read_json(self.sidecar_path)
            return Sidecar(**value) if value is not None else None
        except (ValueError, TypeError):
            return None

    def size_bytes(self) -> int:
        """Bytes on disk; 0 without a sidecar, because nothing continues them."""
        found = look(self.path)
        return found.st_size if found is not None and self.sidecar() is not None else 0

    def begin(self, wanted: Sidecar) -> None:
        """Keep the bytes when `wanted` continues them, else start from nothing."""
        earlier = self.sidecar()
        if earlier is None or not wanted.continues(earlier):
            self.discard()
            write_atomic(self.sidecar_path, json.dumps(asdict(wanted), indent=1))

    def mark_verified(self, sha256: str) -> None:
        """Record that the whole content is here and right."""
        sidecar = self.sidecar()
        assert sidecar is not None
        write_atomic(self.sidecar_path, json.dumps(asdict(replace(sidecar, verified=sha256)), indent=1))

    def discard(self) -> None:
        """Remove bytes and sidecar; the bytes first, so that a crash between leaves nothing to continue."""
        self.path.unlink(missing_ok=True)
        self.sidecar_path.unlink(missing_ok=True)


class Tail:
    """The open end of a partial: bytes are appended, and their SHA-256 is known at any time.

    Opening hashes what is there already (about a gigabyte and a half a second on one core).
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115  # closed by close()
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        buffer = memoryview(bytearray(CHUNK_BYTES))
        while count := self._file.readinto(buffer):
            self._digest.update(buffer[:count])
            self.size_bytes += count

    def append(self, data: memoryview) -> None:
        """Write and hash."""
        self._digest.update(data)
        self.size_bytes += len(data)
        while data:
            data = data[self._file.write(data) :]

    def restart(self) -> None:
        """Drop everything."""
        self._file.seek(0)
        self._file.truncate()
        self._digest, self.size_bytes = hashlib.sha256(), 0

    def finish(self) -> str:
        """Bring the bytes to the disk; their hex SHA-256."""
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._file.close()

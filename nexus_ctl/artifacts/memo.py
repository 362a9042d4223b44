"""Digests remembered by what `stat` says, so that a file of gigabytes is hashed once and not at every plan.

A memo is trusted while size, modification time (nanoseconds) and inode are what they were when the file was hashed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nexus_ctl.artifacts.disk import read_json, sha256_of, write_atomic
from nexus_ctl.artifacts.records import Layout


class Memo:
    """One small file per hashed path, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sha256(self, path: Path, progress: Callable[[int], None] | None = None) -> str:
        """The file's hex SHA-256, from memory when `stat` allows. Raises OSError when it cannot be read."""
        known = self._known(path)
        if known is not None:
            return known
        while True:
            before = _stat(path)
            found = sha256_of(path, progress)
            if _stat(path) == before:  # else it was written to meanwhile
                break
        self.remember(path, found)
        return found

    def remember(self, path: Path, sha256: str) -> None:
        """Record a digest that was just computed."""
        value = {"path": str(path), "stat": _stat(path), "sha256": sha256}
        with suppress(OSError):  # a cache that cannot be written to only costs hashing again
            write_atomic(self._file(path), json.dumps(value), durable=False)

    def forget(self, path: Path) -> None:
        """Drop what is known of a path."""
        self._file(path).unlink(missing_ok=True)

    def _known(self, path: Path) -> str | None:
        try:
            value = read_json(self._file(path))
        except ValueError:
            return None
        if value is None or value.get("path") != str(path) or value.get("stat") != _stat(path):
            return None
        found = value.get("sha256")
        return found if isinstance(found, str) else None

    def _file(self, path: Path) -> Path:
        return self._folder / (hashlib.sha256(os.fsencode(path)).hexdigest()[:32] + ".json")


def has_blob(layout: Layout, memo: Memo, sha256: str) -> bool:
    """True when the blob is here and still what its name says; one that is not is moved to `bad/`."""
    path = layout.blob(sha256)
    try:
        if memo.sha256(path) == sha256:
            return True
    except FileNotFoundError:
        return False
    memo.forget(path)
    layout.set_aside(path)
    return False


def _stat(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]

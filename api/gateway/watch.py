"""The table file, watched: a new one becomes the snapshot in force within a tenth of a second, or at once on SIGHUP.

Run by `main`. One `stat` per look tells whether the file was replaced (a rename gives it another inode), a second one
whether a key came or went. The rule it keeps: a table that cannot be used changes nothing; the one in force stays, and
`error` says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from api.gateway.snapshot import Snapshot, load
from nexus_ctl.routing.keys import KeyFiles

LOOK_SECONDS = 0.1

_log = logging.getLogger(__name__)


class Watch:
    """The snapshot in force, and what is wrong with the file as it lies there now ("" when nothing is)."""

    def __init__(self, path: Path, loaded: Callable[[Snapshot], None]) -> None:
        self.snapshot = Snapshot()
        self.error = f"there is no table yet at {path}"
        self.ready = False
        """Whether a table was ever loaded."""
        self._path = path
        self._keys = KeyFiles(path)
        self._loaded = loaded
        self._seen: tuple[int, ...] | None = None

    def look(self) -> None:
        """Load the file if it was replaced since the last look."""
        try:
            stat = self._path.stat()
        except OSError as error:
            self._seen = None
            if self.ready:
                self._problem(f"the table file is gone: {error.strerror}")
            return
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size, self._keys.changed_ns())
        if seen != self._seen:
            self._seen = seen
            self.read()

    def read(self) -> None:
        """Load the file as it is."""
        try:
            snapshot = load(self._path.read_bytes(), self._keys.all())
        except (OSError, ValueError, RecursionError) as error:
            self._problem(f"the table file cannot be used: {error}")
            return
        self.snapshot, self.error, self.ready = snapshot, "", True
        self._loaded(snapshot)
        _log.info("table revision %d in force: %d routes", snapshot.revision, len(snapshot.routes))

    def _problem(self, error: str) -> None:
        if error != self.error:
            _log.error("%s; revision %d stays in force", error, self.snapshot.revision)
        self.error = error

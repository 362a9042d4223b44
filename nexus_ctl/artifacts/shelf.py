"""A folder of small JSON files that may be lost at any time: bounded, the longest unused go first.

`hub/memory` keeps answers in it and `headers/memory` headers. The rule: whatever is wrong with it (damaged, full, read
only, emptied by somebody else) costs asking again, and nothing more.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from nexus_ctl.artifacts.disk import read_json, write_atomic

FILES, FILE_BYTES, BYTES = 1000, 4 << 20, 64 << 20
"""How many files are kept, how large one may be, and all together."""


def key_of(text: str) -> str:
    """32 hex digits that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Shelf:
    """The folder; small files that may vanish at any time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> dict[str, Any] | None:
        """What was put there; None when it is gone or damaged."""
        path = self._folder / f"{key}.json"
        try:
            found = read_json(path)
            if found is not None:
                path.touch()
        except (OSError, ValueError):
            return None
        return found

    def write(self, key: str, value: dict[str, Any]) -> None:
        """Put it there if it is not too large, and let go of what was not used for longest. A full disk is no error."""
        text = json.dumps(value)
        if len(text) > FILE_BYTES:
            return
        with suppress(OSError):
            write_atomic(self._folder / f"{key}.json", text, durable=False)
            self._prune()

    def _prune(self) -> None:
        found = []
        for path in self._folder.glob("*.json"):
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        room, kept = BYTES, 0
        for _, size, path in sorted(found, reverse=True):
            room, kept = room - size, kept + 1
            if room < 0 or kept > FILES:
                path.unlink(missing_ok=True)

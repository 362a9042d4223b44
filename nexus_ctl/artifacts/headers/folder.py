"""The files of a model repository by name, wherever they are: read over the network while planning, then from disk.

Made by `remote` and `builds/dry_run`, read by everything that a conversion or a checkpoint looks at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nexus_ctl.artifacts.headers.window import Read

MOST_BYTES = 64 << 20
"""The largest file that is read whole: tokenizers of 250,000 tokens have some 35 MB."""


class Told(dict[str, Any]):
    """A JSON object that says in which file it lacks a key."""

    def __init__(self, file: str, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.file = file

    def __missing__(self, key: str) -> Any:
        raise ValueError(f"{self.file}: {key} is missing")


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of a model by name, each with its size and a way to read it."""

    files: Mapping[str, tuple[Read, int]]
    _tables: dict[str, Told] = field(default_factory=dict, compare=False, repr=False)

    def whole(self, name: str) -> bytes:
        """All of a small file; b"" when there is none. Raises ValueError when it is not small."""
        if name not in self.files:
            return b""
        read, size = self.files[name]
        if size > MOST_BYTES:
            raise ValueError(f"{name} has {size} bytes; at most {MOST_BYTES} are read")
        return read(0, size)

    def table(self, name: str) -> Mapping[str, Any]:
        """A JSON file; empty if there is none. Raises ValueError for one that is no object, and for a key it lacks."""
        if name not in self._tables:
            content = self.whole(name)
            told = json.loads(content, object_hook=lambda values: Told(name, values)) if content else Told(name, {})
            if not isinstance(told, Told):
                raise ValueError(f"{name} is not a JSON object")
            self._tables[name] = told  # read once: it may come over the network
        return self._tables[name]


def local(files: Mapping[str, Path]) -> Folder:
    """Files of this machine."""

    def reader(path: Path) -> Read:
        def read(offset: int, length: int) -> bytes:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(length)

        return read

    return Folder({name: (reader(path), path.stat().st_size) for name, path in files.items()})

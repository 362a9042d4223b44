"""Paths → bytes: which files a command means, in an order that does not depend on the machine.

Called by `stack`. The rule: a folder gives its `*.yaml` and `*.yml` files, recursively, sorted, hidden ones left out;
links to folders are not followed, so that a loop cannot hang us.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (".yaml", ".yml")
WORKSPACE = "nexus.yaml"
MAX_TEXT_BYTES = 2**20
"""The largest file that `${file:...}` reads."""


def expand(pattern: str) -> list[str]:
    """The manifest files that a path, folder or glob means, sorted; empty when there are none."""
    if os.path.isdir(pattern):
        return sorted(_below(pattern))
    if os.path.exists(pattern):  # a pipe too, as the shell's <(command) is
        return [pattern]
    if not glob.has_magic(pattern):
        return []
    found: set[str] = set()
    for path in glob.iglob(pattern, recursive=True):
        found.update(_below(path) if os.path.isdir(path) else [path] if path.endswith(SUFFIXES) else [])
    return sorted(found)


def _below(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.join(parent, name)
            if name.endswith(SUFFIXES) and not name.startswith(".") and os.path.isfile(path):
                yield path


def workspace_above(folder: str) -> str | None:
    """The nearest `nexus.yaml` in `folder` or above it, as an absolute path."""
    for candidate in (Path(folder).resolve(), *Path(folder).resolve().parents):
        if (candidate / WORKSPACE).is_file():
            return str(candidate / WORKSPACE)
    return None


def shown(path: str) -> str:
    """A path as people are shown it: relative to the working directory where that is no longer."""
    try:
        relative = os.path.relpath(path)
    except ValueError:
        return path
    return min(relative, os.path.normpath(path), key=len)


def read_at_most(path: str, limit: int) -> bytes:
    """The file's first `limit` + 1 bytes, so that one too large is seen without being read. Raises OSError."""
    with open(path, "rb") as stream:
        return stream.read(limit + 1)

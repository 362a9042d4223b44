"""Reading what a replica's engine printed: one stream of bytes in files that are named by their offset.

`supervisor.Log` writes them. The rule: a position is an offset in the whole stream, so a rotation is no event for a
reader; bytes that were rotated away are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 20


def _files(directory: Path) -> list[tuple[int, Path]]:
    """(offset, file), oldest first; empty when there is no output, or no directory."""
    try:
        return sorted((int(path.suffix[1:]), path) for path in directory.iterdir() if path.stem == "log")
    except FileNotFoundError:
        return []


def total_bytes(directory: Path) -> int:
    """How much was ever printed."""
    for offset, path in reversed(_files(directory)):
        try:
            return offset + path.stat().st_size
        except FileNotFoundError:
            continue
    return 0


def read_from(directory: Path, position: int) -> Iterator[tuple[int, bytes]]:
    """(position after it, bytes) of everything printed from `position` on that is still kept."""
    for offset, path in _files(directory):
        try:
            with path.open("rb") as file:
                file.seek(max(position - offset, 0))
                while data := file.read(BLOCK):
                    position = offset + file.tell()
                    yield position, data
        except FileNotFoundError:
            continue


def position_of_first(directory: Path) -> int:
    """Where the first whole line begins that is still kept."""
    for offset, path in _files(directory):
        if offset == 0:
            return 0
        try:
            with path.open("rb") as file:
                return offset + len(file.readline())
        except FileNotFoundError:
            continue
    return 0


def position_of_tail(directory: Path, lines: int) -> int:
    """Where the last `lines` lines begin; an unfinished last line counts as one."""
    if lines == 0:
        return total_bytes(directory)
    needed = lines
    for age, (offset, path) in enumerate(reversed(_files(directory))):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            break
        if age == 0 and not data.endswith(b"\n"):
            needed -= 1
        breaks = data.count(b"\n")
        if breaks <= needed:
            needed -= breaks
            continue
        at = len(data)
        for _ in range(needed + 1):
            at = data.rindex(b"\n", 0, at)
        return offset + at + 1
    return position_of_first(directory)

"""Locks and what was verified → text or JSON. Fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nexus_ctl.planning.lock_diff import FileMove, Move
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.artifact import Verdict
from nexus_ctl.resources.lock import LockedFile, short
from nexus_ctl.views.table import table

SIGNS: Mapping[str, str] = {"added": "+", "removed": "-", "moved": "~"}
HEADERS = ("MODEL", "FILE", "STATE", "SIZE", "DIGEST")


def moved_text(moves: Sequence[Move]) -> str:
    """One block an entry, and what it comes to."""
    if not moves:
        return "The locks say the same.\n"
    total = sum(move.download_bytes for move in moves)
    replaced = sorted({ref for move in moves for ref in move.replaces})
    summary = f"{len(moves)} differ; {human_bytes(total)} to download, {len(replaced)} to replace.\n"
    return "".join(f"{line}\n" for move in moves for line in _move(move)) + summary


def _move(move: Move) -> Iterator[str]:
    ends = [short(one) for one in (move.before, move.after) if one]
    yield f"{SIGNS[move.verb]} {move.ref}  {' -> '.join(ends)}".rstrip()
    for file in move.files:
        yield f"    {_sign(file)} {file.name}  {_sizes(file.before, file.after)}"
    if move.ref.kind == "Model" and move.verb == "moved" and not move.files:
        yield "    the same files"
    if move.download_bytes:
        yield f"    download {human_bytes(move.download_bytes)}"
    if move.replaces:
        yield f"    replaces {', '.join(map(str, move.replaces))}"


def _sign(file: FileMove) -> str:
    return SIGNS["added" if file.before is None else "removed" if file.after is None else "moved"]


def _sizes(before: LockedFile | None, after: LockedFile | None) -> str:
    return " -> ".join(human_bytes(one.size_bytes) for one in (before, after) if one is not None)


def moved_json(moves: Sequence[Move]) -> list[dict[str, Any]]:
    """Keys are stable."""
    return [
        {
            "ref": str(move.ref),
            "change": move.verb,
            "before": move.before or None,
            "after": move.after or None,
            "files": [
                {"name": file.name, "before": _file_json(file.before), "after": _file_json(file.after)}
                for file in move.files
            ],
            "downloadBytes": move.download_bytes,
            "replaces": [str(ref) for ref in move.replaces],
        }
        for move in moves
    ]


def _file_json(file: LockedFile | None) -> dict[str, Any] | None:
    return {"sizeBytes": file.size_bytes, "digest": file.digest} if file is not None else None


def verdicts_text(found: Mapping[str, Sequence[Verdict]]) -> str:
    """The table; of a corrupt file both digests, and where it was put."""
    rows = [
        (model, one.name, one.state, human_bytes(one.size_bytes), _digest(one))
        for model, verdicts in found.items()
        for one in verdicts
    ]
    return table(HEADERS, rows)


def _digest(one: Verdict) -> str:
    if one.state != "corrupt":
        return one.expected
    aside = f"; put aside in {one.aside}" if one.aside else ""
    return f"{one.expected} expected, {one.found} found{aside}"


def verdicts_json(found: Mapping[str, Sequence[Verdict]]) -> list[dict[str, Any]]:
    """Keys are stable."""
    return [
        {
            "model": model,
            "file": one.name,
            "state": one.state,
            "sizeBytes": one.size_bytes,
            "expected": one.expected,
            "found": one.found or None,
            "path": one.path or None,
            "putAside": one.aside or None,
        }
        for model, verdicts in found.items()
        for one in verdicts
    ]

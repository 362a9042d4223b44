"""Locks and what was verified → text or JSON. Fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nexus_ctl.planning.lock_diff import BuildMove, FileMove, Move
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.artifact import RemoteFinding, Verdict
from nexus_ctl.resources.lock import LockedBuild, LockedFile, short
from nexus_ctl.views.table import table

SIGNS: Mapping[str, str] = {"added": "+", "removed": "-", "moved": "~"}
HEADERS = ("MODEL", "FILE", "STATE", "SIZE", "DIGEST")
REMOTE_HEADERS = ("MODEL", "SUBJECT", "STATE", "HELD", "NOW")


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
    for build in move.builds:
        yield f"    {_sign(build)} {build.words}  {_results(build)}"
    if move.ref.kind == "Model" and move.verb == "moved" and not move.files:
        yield "    the same files"
    if move.download_bytes:
        yield f"    download {human_bytes(move.download_bytes)}"
    if move.replaces:
        yield f"    replaces {', '.join(map(str, move.replaces))}"


def _sign(one: FileMove | BuildMove) -> str:
    return SIGNS["added" if one.before is None else "removed" if one.after is None else "moved"]


def _results(move: BuildMove) -> str:
    """Digest, size and tool, old to new; what is the same on both sides once."""
    ends = [one for one in (move.before, move.after) if one is not None]
    told = (
        [short(one.digest) or "not built yet" for one in ends],
        [human_bytes(one.size_bytes) for one in ends],
        [f"by {one.tool}" for one in ends],
    )
    changed = [" -> ".join(dict.fromkeys(words)) for words in told]
    inputs = ["of other inputs"] if len({one.key for one in ends}) > 1 else []
    return ", ".join([*changed, *inputs])


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
            "builds": [
                {"step": one.words, "before": _build_json(one.before), "after": _build_json(one.after)}
                for one in move.builds
            ],
            "downloadBytes": move.download_bytes,
            "replaces": [str(ref) for ref in move.replaces],
        }
        for move in moves
    ]


def _file_json(file: LockedFile | None) -> dict[str, Any] | None:
    return {"sizeBytes": file.size_bytes, "digest": file.digest} if file is not None else None


def _build_json(build: LockedBuild | None) -> dict[str, Any] | None:
    if build is None:
        return None
    known = {"key": build.key, "tool": build.tool, "sizeBytes": build.size_bytes, "digest": build.digest or None}
    return {"step": build.step, "type": build.type, **known}


def remote_text(found: Mapping[str, Sequence[RemoteFinding]]) -> str:
    """The table of what sources say now."""
    rows = [
        (model, one.subject, one.state, one.held or "-", one.now or "-")
        for model, findings in found.items()
        for one in findings
    ]
    return table(REMOTE_HEADERS, rows)


def remote_json(found: Mapping[str, Sequence[RemoteFinding]]) -> list[dict[str, Any]]:
    """Keys are stable."""
    return [
        {"model": model, "subject": one.subject, "state": one.state, "held": one.held or None, "now": one.now or None}
        for model, findings in found.items()
        for one in findings
    ]


def verdicts_text(found: Mapping[str, Sequence[Verdict]]) -> str:
    """The table; of a corrupt file both digests, and where it was put."""
    rows = [
        (model, one.name, one.state, human_bytes(one.size_bytes), _digest(one))
        for model, verdicts in found.items()
        for one in verdicts
    ]
    return table(HEADERS, rows)


def _digest(one: Verdict) -> str:
    if one.state == "differs":
        return f"{one.expected} locked, {one.found} built here"
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

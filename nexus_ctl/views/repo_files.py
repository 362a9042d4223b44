"""The files of a model's source: size, digest, whether they are here, what belongs together, who takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.catalog import Fresh, RepoFile, group_of
from nexus_ctl.views import freshness
from nexus_ctl.views.table import table

HEADERS = ("FILE", "SIZE", "DIGEST", "HERE", "GROUP", "TAKEN BY")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file. `here` names the caches that have it; `taken_by` the declared Models whose patterns take it."""

    file: RepoFile
    here: tuple[str, ...]
    taken_by: tuple[str, ...]


def text(files: Sequence[ListedFile]) -> str:
    """The table, and sums: of all files, and of what is taken."""
    rows = [_row(one) for one in files]
    whole = sum(one.file.size_bytes for one in files)
    taken = [one.file.size_bytes for one in files if one.taken_by]
    sums = f"{len(files)} files, {human_bytes(whole)}"
    sums += f"; {len(taken)} taken, {human_bytes(sum(taken))}" if taken else ""
    return f"{table(HEADERS, rows)}\n{sums}\n"


def to_json(origin: str, commit: str, files: Sequence[ListedFile], fresh: Fresh | None) -> dict[str, Any]:
    """Keys are stable."""
    return {
        "origin": origin,
        "commit": commit or None,
        "files": [
            {
                "name": one.file.name,
                "sizeBytes": one.file.size_bytes,
                "sha256": one.file.sha256,
                "gitOid": one.file.git_oid,
                "here": list(one.here),
                "group": _group(one.file) or None,
                "takenBy": list(one.taken_by),
            }
            for one in files
        ],
        "known": freshness.to_json(fresh) if fresh is not None else None,
    }


def names(files: Sequence[ListedFile]) -> str:
    """One file name a line."""
    return "".join(f"{one.file.name}\n" for one in files)


def _row(one: ListedFile) -> tuple[str, ...]:
    digest = f"sha256:{one.file.sha256[:12]}" if one.file.sha256 else f"git:{(one.file.git_oid or '')[:12]}"
    here, takers = ", ".join(one.here), ", ".join(one.taken_by)
    return one.file.name, human_bytes(one.file.size_bytes), digest, here, _group(one.file), takers


def _group(file: RepoFile) -> str:
    """The split model that a part belongs to; "" for a file of its own."""
    group = group_of(file.name)
    return group if group != file.name else ""

"""Whether a branch moved on from what is held: one small request a source, all at once, within a moment, remembered.

Called by `cache.py` for the drift that a plan shows. The rules: it never fails and never holds a plan up longer than
`PATIENCE_SECONDS`, and a hub that did not answer is left alone for `SILENCE`; then what was seen last is told, with
when. The memory can be lost and holds no secret.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from nexus_ctl.artifacts.disk import read_json, write_atomic
from nexus_ctl.artifacts.locking import digest_of
from nexus_ctl.artifacts.records import Layout
from nexus_ctl.artifacts.source import Means, Part
from nexus_ctl.errors import ActionError, Terminal
from nexus_ctl.resources.artifact import Request, Upstream
from nexus_ctl.resources.model import HuggingFaceSource

PATIENCE_SECONDS = 2.0
SILENCE = timedelta(minutes=5)
ANSWER_BYTES = 8 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")


def follows(request: Request) -> HuggingFaceSource | None:
    """The source, where it names something that can move; a full commit cannot."""
    hub = request.source.hugging_face
    return hub if hub is not None and not _COMMIT.fullmatch(hub.revision) else None


def look(layout: Layout, means: Means, asked: Mapping[str, tuple[Request, str | None]]) -> None:
    """Ask each hub what the revision names now, and remember the answers that came in time."""
    due = {request.key: (request, token) for request, token in asked.values() if _is_due(layout, means, request)}
    answers: dict[str, dict[str, Any]] = {}

    def ask(request: Request, token: str | None) -> None:
        try:
            answers[request.key] = _ask(means, request, token)
        except ActionError as error:
            answers[request.key] = {"error": error.detail}

    threads = [threading.Thread(target=ask, args=one, daemon=True) for one in due.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    now = means.clock.now().isoformat()
    for key in due:
        found = dict(answers.get(key, {"error": f"no answer within {PATIENCE_SECONDS:g} s"}))
        if "error" in found:
            found = {**_remembered(layout, key), **found, "failed_at": now}
        else:
            found["seen_at"] = now
        with suppress(OSError):  # a cache that cannot be written to only costs asking again
            write_atomic(layout.upstream(key), json.dumps(found), durable=False)


def seen(layout: Layout, request: Request, held_commit: str, held: frozenset[str]) -> Upstream | None:
    """What was seen last, against what is held: its commit and digests; None where there is nothing to tell."""
    source = follows(request)
    memory = _remembered(layout, request.key)
    if source is None or not memory:
        return None
    chosen = [row for row in memory.get("chosen", ()) if row[1] not in held]
    moved = memory.get("commit", held_commit) != held_commit and bool(chosen)
    return Upstream(
        revision=source.revision,
        held=held_commit,
        now=memory["commit"] if moved else held_commit,
        files=len(chosen) if moved else 0,
        size_bytes=sum(row[2] for row in chosen) if moved else 0,
        seen_at=memory.get("seen_at", ""),
        error=memory.get("error", ""),
    )


def _is_due(layout: Layout, means: Means, request: Request) -> bool:
    failed_at = _remembered(layout, request.key).get("failed_at")
    silent = failed_at is not None and means.clock.now() - datetime.fromisoformat(failed_at) < SILENCE
    return follows(request) is not None and not silent


def _remembered(layout: Layout, key: str) -> dict[str, Any]:
    """The answer as it was written; empty for anything else."""
    try:
        found = read_json(layout.upstream(key)) or {}
        for moment in ("seen_at", "failed_at"):
            datetime.fromisoformat(found.get(moment, "2026-01-01T00:00:00+00:00"))
        rows = found.get("chosen", [])
        whole = all(isinstance(name, str) and isinstance(digest, str) and size >= 0 for name, digest, size in rows)
        told = "error" in found or _COMMIT.fullmatch(found["commit"])
    except (ValueError, TypeError, KeyError, OSError):
        return {}
    return found if whole and told else {}


def _ask(means: Means, request: Request, token: str | None) -> dict[str, Any]:
    """Raises ActionError. One request: the commit with the sizes and digests of its files."""
    from nexus_ctl.artifacts.hub.client import endpoint_of, is_offline, login_token
    from nexus_ctl.artifacts.sources.hub import choose
    from nexus_ctl.artifacts.transfer.transport import opened

    source = request.source.hugging_face
    assert source is not None
    if is_offline(means.environ):
        raise Terminal("the Hugging Face client is told to be offline")
    revision = quote(source.revision, safe="")
    place = f"{endpoint_of(means.environ)}/api/models/{source.repo}/revision/{revision}?blobs=true"
    with opened(place, token=token or login_token(means.environ), stall_seconds=PATIENCE_SECONDS) as reply:
        body = reply.read(ANSWER_BYTES)
    try:
        answer = json.loads(body)
        commit, listed = answer["sha"], [_part(row) for row in answer["siblings"]]
        if not _COMMIT.fullmatch(commit):
            raise ValueError(commit)
    except (ValueError, KeyError, TypeError) as error:
        raise Terminal(f"{place}: not the answer of a hub") from error
    chosen = [[part.name, digest_of(part), part.size_bytes] for part in choose(source, listed)]
    return {"commit": commit, "chosen": chosen}


def _part(row: dict[str, Any]) -> Part:
    lfs = row.get("lfs")
    size = int(lfs["size"] if lfs else row["size"])
    return Part(row["rfilename"], "", size, lfs["sha256"] if lfs else None, None if lfs else row["blobId"])

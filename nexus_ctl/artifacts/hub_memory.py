"""What the hub answered before: metadata on disk, asked for again with its ETag, used when the hub cannot be asked.

    hub/<key>.json      one answer: address, ETag, next page, when it was last known to be true, the body
    hub/<key>.header.json   the parsed header of model files, by their digests: those never change

An answer younger than `FRESH` is used unasked; an older one is held against the hub by its ETag; where the hub does
not answer, or may not be asked, the old one serves, and `as_of` says how old it is. The rule: everything in here can
be lost, is bounded, and holds no secret (the address goes in without its user part, the token never).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_ctl.artifacts.address import display
from nexus_ctl.artifacts.disk import read_json, write_atomic
from nexus_ctl.artifacts.transport import Unavailable
from nexus_ctl.clock import Clock, moment, stamp
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.weights import Counted, GgufHeader, Tensor, Value

if TYPE_CHECKING:
    import httpx2

FRESH = timedelta(minutes=10)
FILES, FILE_BYTES, BYTES = 1000, 4 << 20, 64 << 20
"""How many answers are kept, how large one may be, and all together; the longest unused go first."""
_ONLY_NOW = "/auth-check"
"""Whether this token may read is asked anew each time."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One remembered answer."""

    url: str
    etag: str
    link: str
    type: str
    as_of: str
    body: str


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


@dataclass
class HubMemory:
    """Remembered answers for one conversation (`hub_client.Answers`). `as_of` and `why` tell afterwards how old."""

    shelf: Shelf
    clock: Clock
    offline: bool = False
    refresh: bool = False
    """Hold every answer against the hub, however young."""
    as_of: datetime | None = field(default=None, init=False)
    """When the oldest answer used was last known to be true; None before any."""
    why: str = field(default="", init=False)
    """Why something older was used; "" when the hub was asked or had just been."""
    _fresh: dict[str, Kept] = field(default_factory=dict, init=False)

    def answer(self, request: httpx2.Request, ask: Callable[[], httpx2.Response]) -> httpx2.Response:
        """See `Answers`. Raises Terminal (offline, and not remembered) and what `ask` raises."""
        url = str(request.url)
        if request.method != "GET" or request.url.path.endswith(_ONLY_NOW):
            return ask()
        key = _key(url)
        kept = _kept(self.shelf.read(key), display(url))
        if self.offline:
            return self._from_memory(request, kept, "offline")
        if kept is not None and not self.refresh and self.clock.now() - moment(kept.as_of) < FRESH:
            return self._from_memory(request, kept, "")
        if kept is not None and kept.etag:
            request.headers["If-None-Match"] = kept.etag
        try:
            response = ask()
        except Unavailable as error:
            if kept is None:
                raise
            return self._from_memory(request, kept, f"the hub does not answer: {error.detail}")
        now = stamp(self.clock.now())
        if response.status_code == 304 and kept is not None:
            kept = Kept(kept.url, kept.etag, kept.link, kept.type, now, kept.body)
        elif response.status_code == 200:
            said = response.headers
            kept = Kept(
                display(url),
                said.get("ETag", ""),
                said.get("Link", ""),
                said.get("Content-Type", ""),
                now,
                response.text,
            )
        else:
            return response
        self._fresh[key] = kept
        return self._from_memory(request, kept, "")

    def keep(self) -> None:
        """Remember what was answered: once it made sense, so that nonsense never takes the place of a good answer."""
        for key, kept in self._fresh.items():
            self.shelf.write(key, asdict(kept))

    def _from_memory(self, request: httpx2.Request, kept: Kept | None, why: str) -> httpx2.Response:
        import httpx2

        if kept is None:
            place = display(str(request.url.copy_with(query=None)))
            hint = "unset HF_HUB_OFFLINE, and ask once while online"
            raise Terminal(f"offline, and {place} was not asked before", hint=hint, code="offline")
        as_of = moment(kept.as_of)
        self.as_of = as_of if self.as_of is None else min(self.as_of, as_of)
        self.why = self.why or why
        headers = {"ETag": kept.etag, "Link": kept.link, "Content-Type": kept.type}
        return httpx2.Response(200, headers=headers, text=kept.body, request=request)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _kept(value: dict[str, Any] | None, url: str) -> Kept | None:
    """The answer as it was written; None for anything else."""
    if value is None or set(value) != set(Kept.__dataclass_fields__) or value["url"] != url:
        return None
    try:
        moment(value["as_of"])
    except (ValueError, TypeError):
        return None
    return Kept(**value) if all(isinstance(text, str) for text in value.values()) else None


def read_header(shelf: Shelf, digests: Sequence[str]) -> GgufHeader | None:
    """The header of the files with these SHA-256, in order; None when it is not remembered."""
    value = shelf.read(f"{_key(' '.join(digests))}.header")
    try:
        return _header(value) if value is not None else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def write_header(shelf: Shelf, digests: Sequence[str], header: GgufHeader) -> None:
    """Remember a header under what its files hold."""
    metadata = {
        name: {"counted": [value.element_type, value.count]} if isinstance(value, Counted) else value
        for name, value in header.metadata.items()
    }
    facts = {
        "architecture": header.architecture,
        "data_offset": header.data_offset,
        "file_bytes": header.file_bytes,
        "alignment": header.alignment,
        "shards": header.shards,
    }
    tensors = [[one.name, one.dims, one.type, one.size_bytes] for one in header.tensors]
    shelf.write(f"{_key(' '.join(digests))}.header", {"facts": facts, "metadata": metadata, "tensors": tensors})


def _header(value: dict[str, Any]) -> GgufHeader:
    def plain(stored: Any) -> Value:
        if isinstance(stored, dict):
            return Counted(*stored["counted"])
        return tuple(stored) if isinstance(stored, list) else stored

    metadata = {name: plain(stored) for name, stored in value["metadata"].items()}
    tensors = tuple(Tensor(name, tuple(dims), kind, size) for name, dims, kind, size in value["tensors"])
    return GgufHeader(metadata=metadata, tensors=tensors, **value["facts"])

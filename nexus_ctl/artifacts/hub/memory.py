"""What the hub answered before, one file an answer: held against the hub by its ETag, used when it cannot be asked.

Beneath the catalog's conversations. An answer younger than `FRESH` is used unasked; an older one is asked for again
with its ETag; where the hub does not answer, or may not be asked, the old one serves, and `as_of` says how old it is.
The rule: nothing is remembered before it made sense, and nothing secret ever (the address goes in without its user
part, the token not at all).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nexus_ctl.artifacts.shelf import Shelf, key_of
from nexus_ctl.artifacts.transfer.address import display
from nexus_ctl.artifacts.transfer.transport import Unavailable
from nexus_ctl.clock import Clock, moment, stamp
from nexus_ctl.errors import Terminal

if TYPE_CHECKING:
    import httpx2

FRESH = timedelta(minutes=10)
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


@dataclass
class HubMemory:
    """Remembered answers for one conversation (`client.Answers`). `as_of` and `why` tell afterwards how old."""

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
        key = key_of(url)
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


def _kept(value: dict[str, Any] | None, url: str) -> Kept | None:
    """The answer as it was written; None for anything else."""
    if value is None or set(value) != set(Kept.__dataclass_fields__) or value["url"] != url:
        return None
    try:
        moment(value["as_of"])
    except (ValueError, TypeError):
        return None
    return Kept(**value) if all(isinstance(text, str) for text in value.values()) else None

"""Asking where a file comes from: one source per origin, each loaded only when it is asked.

Called by the cache. What a source answers is held against the lock before anybody believes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nexus_ctl.artifacts.locking import hold
from nexus_ctl.artifacts.source import Means, Parcel
from nexus_ctl.resources.artifact import Request

Ask = Callable[[Request, str | None, Means], Parcel]


def _url(request: Request, token: str | None, means: Means) -> Parcel:
    from nexus_ctl.artifacts.sources.url import parcel

    return parcel(request, token, means)


def _pypi(request: Request, token: str | None, means: Means) -> Parcel:
    from nexus_ctl.artifacts.sources.pypi import parcel

    return parcel(request, means)


def _hub(request: Request, token: str | None, means: Means) -> Parcel:
    from nexus_ctl.artifacts.sources.hub import parcel

    return parcel(request, token, means)


REMOTE: Mapping[str, Ask] = {"url": _url, "pypi": _pypi, "hugging_face": _hub}
"""Which source answers for which field of `Source`; `path` is no transfer and stands apart."""


def parcel_of(request: Request, token: str | None, means: Means) -> Parcel:
    """What the request's source offers now, and its parts. Raises ActionError, and Terminal where a lock says another
    thing."""
    field = next(name for name in REMOTE if getattr(request.source, name) is not None)
    parcel = REMOTE[field](request, token, means)
    hold(parcel, request.locked)
    return parcel

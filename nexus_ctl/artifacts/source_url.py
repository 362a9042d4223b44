"""Source `url`: any http or https address, asked with a one-byte range what it would deliver.

A GET of one byte rather than a HEAD: signed addresses allow only GET, and the answer shows whether ranges work.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from nexus_ctl.artifacts.address import display
from nexus_ctl.artifacts.source import Means, Parcel, Part
from nexus_ctl.artifacts.transport import RangeUnsatisfiable, Reply, opened, persist
from nexus_ctl.resources.artifact import Offer, Request
from nexus_ctl.resources.normal import digest


def parcel(request: Request, token: str | None, means: Means) -> Parcel:
    """What the address offers now. Identity: the declared digest, else address with ETag, date or length.

    The address is part of it because a server's ETags tell versions of one file apart, not files.
    """
    url = request.source.url
    assert url is not None
    size_bytes, validator = persist(lambda: _ask(url, token, means.patience.stall_seconds), means)
    place = display(url)
    if request.sha256 is not None:
        identity = f"sha256:{request.sha256}"
    elif validator is not None:
        identity = f"etag:{digest([place, validator, size_bytes], 32)}"
    else:
        identity = f"size:{digest([place, size_bytes], 32)}"
    name = unquote(urlsplit(url).path).rpartition("/")[2] or "file"
    part = Part(name, url, size_bytes, request.sha256, validator=validator)
    return Parcel(Offer(identity, size_bytes, place), (part,))


def _ask(url: str, token: str | None, stall_seconds: float) -> tuple[int | None, str | None]:
    """(length, validator) of what is there now."""
    headers = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
    try:
        with opened(url, token=token, headers=headers, stall_seconds=stall_seconds) as reply:
            return _length(reply), _validator(reply)
    except RangeUnsatisfiable as answer:
        return answer.size_bytes, None  # an empty file has no first byte


def _length(reply: Reply) -> int | None:
    of_range = reply.status == 206
    stated = reply.header("Content-Range").rpartition("/")[2] if of_range else reply.header("Content-Length")
    return int(stated) if stated.isdigit() else None


def _validator(reply: Reply) -> str | None:
    """A strong ETag, else the date of the last change; what `If-Range` may hold (RFC 9110, 13.1.5)."""
    etag = reply.header("ETag")
    return etag if etag.startswith('"') else reply.header("Last-Modified") or None

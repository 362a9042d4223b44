"""Source `url`: any http or https address, asked with a one-byte range what it would deliver."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from nexus_ctl.artifacts.source import Means, Parcel, Part
from nexus_ctl.artifacts.transfer.address import display
from nexus_ctl.artifacts.transfer.transport import probe
from nexus_ctl.resources.artifact import Offer, Request
from nexus_ctl.resources.normal import digest


def parcel(request: Request, token: str | None, means: Means) -> Parcel:
    """What the address offers now. Identity: the declared or locked digest, else address with ETag, date or length.

    The address is part of it because a server's ETags tell versions of one file apart, not files.
    """
    url = request.source.url
    assert url is not None
    size_bytes, validator = probe(url, token, means)
    place = display(url)
    if request.wanted is not None:
        identity = f"sha256:{request.wanted}"
    elif validator is not None:
        identity = f"etag:{digest([place, validator, size_bytes], 32)}"
    else:
        identity = f"size:{digest([place, size_bytes], 32)}"
    name = unquote(urlsplit(url).path).rpartition("/")[2] or "file"
    part = Part(name, url, size_bytes, request.wanted, validator=validator)
    return Parcel(Offer(identity, size_bytes, place), (part,), token)

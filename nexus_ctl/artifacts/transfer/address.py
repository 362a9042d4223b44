"""Addresses as people may see them, and the credentials that ride in them. Pure; loads no HTTP code.

Everything that is written down or shown (origin, provenance, partial, error) goes through `display`; what rides in
the user part of an address goes to its server as Basic authentication and nowhere else (R29).
"""

from __future__ import annotations

import base64
import re
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit, urlunsplit

_SECRET = re.compile(r"token|sig|key|secret|auth|passw|credential|session|policy|jwt", re.IGNORECASE)
_AS_WRITTEN = "%/?:@!$&'()*+,;=-._~"
"""What may stand in a path or query, and what is escaped already. Source: RFC 3986, 3.3 and 3.4."""


def display(url: str) -> str:
    """`url` without its user part and fragment; the values of parameters that look secret become `***`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    query = "&".join(
        f"{quote(name)}={'***' if _SECRET.search(name) else quote(value)}"
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    return urlunsplit((parts.scheme, _without_user(parts), parts.path, query, ""))


def bare(url: str) -> str:
    """`url` as it goes on the wire: no user part, no fragment, and escaped where people leave that out."""
    parts = urlsplit(url)
    path, query = quote(parts.path, safe=_AS_WRITTEN), quote(parts.query, safe=_AS_WRITTEN)
    return urlunsplit((parts.scheme, _without_user(parts), path, query, ""))


def basic(url: str) -> str | None:
    """The `Authorization` value for the user part of `url`; None when it has none."""
    parts = urlsplit(url)
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def with_user(url: str, like: str) -> str:
    """`url` with the user part of `like`, when both are of one server and `url` has none of its own."""
    parts, other = urlsplit(url), urlsplit(like)
    if "@" in parts.netloc or "@" not in other.netloc or server(url) != server(like):
        return url
    user = other.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}"))


def server(url: str) -> tuple[str, str, int]:
    """(scheme, host, port): who gets to see credentials. Raises ValueError when it is no address."""
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("no host")
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)


def _without_user(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]

"""Which header fields cross the gateway. Used on both sides. Pure.

Fields that speak of one connection stay on it (RFC 9110 7.6.1). A client's credentials are for the gateway and never
reach an engine; where an engine asks for a key, that one takes their place. `accept-encoding` stays here too: engines
are near, and a compressed stream would come in lumps.
"""

from __future__ import annotations

from api.gateway.choose import Endpoint

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
_FOR_THE_GATEWAY = HOP_BY_HOP | {
    b"accept-encoding",
    b"api-key",
    b"authorization",
    b"content-length",
    b"cookie",
    b"expect",
    b"host",
    b"x-api-key",
}


def request_head(target: bytes, endpoint: Endpoint, headers: list[tuple[bytes, bytes]], length: int) -> bytes:
    """Head of a POST to an engine. `headers` as the client sent them, names in lower case; `length` of the body."""
    named = _named_by_connection(headers)
    dropped = _FOR_THE_GATEWAY | named if named else _FOR_THE_GATEWAY
    host, port = endpoint.host, endpoint.port
    where = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
    lines = [b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-length: %d\r\n" % (target, where, length)]
    lines += [b"%b: %b\r\n" % header for header in headers if header[0] not in dropped]
    if endpoint.key:
        lines.append(b"authorization: Bearer %b\r\n" % endpoint.key.encode("ascii"))
    lines.append(b"\r\n")
    return b"".join(lines)


def _named_by_connection(headers: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Further fields that the sender declares to be of this connection only; nearly always none."""
    for name, value in headers:
        if name == b"connection" and value.lower() not in (b"keep-alive", b"close"):
            return frozenset(token.strip() for token in value.lower().split(b","))
    return frozenset()

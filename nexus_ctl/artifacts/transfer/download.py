"""The one download: ranged, resumed, hashed while it is written. Every remote source goes through here.

    partial on disk ── Range, If-Range ──► 206: append · 200: start over · 416: is it whole? · cut: again from there
                                                      ↓
                                   whole, fsynced, digest right → verified      wrong → quarantine, once more from zero

A kill at any byte loses what was in one buffer. A failure only counts when the attempt brought next to nothing, so
a flaky line gets there in the end. An exception out of `progress` abandons the download and keeps the partial.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nexus_ctl.artifacts.disk import disk_full, git_oid_of, is_full, move
from nexus_ctl.artifacts.source import Means, Part
from nexus_ctl.artifacts.transfer.address import display
from nexus_ctl.artifacts.transfer.partial import Partial, Tail
from nexus_ctl.artifacts.transfer.transport import RangeUnsatisfiable, Reply, Stalled, Unavailable, opened, pause
from nexus_ctl.errors import IntegrityError, Terminal
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.artifact import Progress, ProgressSink

BUFFER_BYTES = 256 << 10
FRUITFUL_BYTES = 1 << 20
"""An attempt that brought this much was no failure."""


def download(
    part: Part,
    partial: Partial,
    means: Means,
    *,
    token: str | None,
    progress: ProgressSink,
    quarantine: Path,
) -> str:
    """Bring `part` into `partial` (begun already) and prove it; the SHA-256 of the whole, fsynced file.

    Raises IntegrityError (its bytes then lie in `quarantine`), Terminal, Unavailable or Stalled.
    """
    found = ""
    for _ in range(2):
        found = _whole(part, partial, means, token, progress)
        if is_right(part, partial.path, found):
            partial.mark_verified(found)
            return found
        move(partial.path, quarantine)
    wanted = part.sha256 or f"git blob {part.git_oid}"
    raise IntegrityError(
        f"{display(part.url)}: {part.name} should be {wanted} but is {found}",
        hint=f"the bytes are kept aside in {quarantine}; the checksum or the source is wrong",
    )


def is_right(part: Part, path: Path, sha256: str) -> bool:
    """True when the file at `path`, whose digest is `sha256`, is what the source stated. True if it stated nothing."""
    if part.sha256 is not None:
        return sha256 == part.sha256
    return part.git_oid is None or git_oid_of(path) == part.git_oid


def _whole(part: Part, partial: Partial, means: Means, token: str | None, progress: ProgressSink) -> str:
    tail = Tail(partial.path)
    try:
        failures = 0
        while part.size_bytes is None or tail.size_bytes != part.size_bytes:
            before = tail.size_bytes
            try:
                _attempt(part, tail, means, token, progress)
                break
            except (Unavailable, Stalled) as error:
                failures = failures + 1 if tail.size_bytes < before + FRUITFUL_BYTES else 0
                pause(error, failures, means)
        return tail.finish()
    except OSError as error:
        if not is_full(error):
            raise
        raise disk_full(f"{partial.path}: {error.strerror} after {human_bytes(tail.size_bytes)}") from error
    finally:
        tail.close()


def _attempt(part: Part, tail: Tail, means: Means, token: str | None, progress: ProgressSink) -> None:
    """One request for what is missing; returns when the file is whole."""
    headers = {"Accept-Encoding": "identity"}
    if tail.size_bytes:
        headers["Range"] = f"bytes={tail.size_bytes}-"
        if part.validator is not None:
            headers["If-Range"] = part.validator
    try:
        with opened(part.url, token=token, headers=headers, stall_seconds=means.patience.stall_seconds) as reply:
            total = _accept(part, tail, reply)
            _copy(reply, tail, means, lambda: progress(Progress("download", tail.size_bytes, total)))
            _check_end(part, tail, reply, total)
    except RangeUnsatisfiable as answer:
        if answer.size_bytes != tail.size_bytes:
            tail.restart()
            raise Unavailable(f"{display(part.url)}: shorter than the bytes already here") from answer


def _accept(part: Part, tail: Tail, reply: Reply) -> int | None:
    """The whole file's length, as the answer says it; empties the tail when the answer begins at the first byte."""
    place = display(part.url)
    if reply.header("Content-Encoding") not in ("", "identity"):
        raise Terminal(f"{place}: the server encodes the file although asked not to")
    length = reply.header("Content-Length")
    total = int(length) if length.isdigit() else None
    if reply.status == 206:
        first, total = _content_range(reply.header("Content-Range"))
        if first != tail.size_bytes:
            tail.restart()
            raise Unavailable(f"{place}: answered with another range than asked")
    else:
        tail.restart()
    if part.size_bytes is not None and total not in (None, part.size_bytes):
        raise Terminal(f"{place}: has {total} bytes now, {part.size_bytes} when it was planned", hint="plan again")
    return total if total is not None else part.size_bytes


def _content_range(value: str) -> tuple[int | None, int | None]:
    """(first byte, length of the whole) of `bytes 5-9/10`; None for what is not said. Source: RFC 9110, 14.4."""
    span, _, total = value.removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    return (int(first) if first.isdigit() else None), (int(total) if total.isdigit() else None)


def _copy(reply: Reply, tail: Tail, means: Means, tell: Callable[[], None]) -> None:
    throttle = means.throttle
    buffer = memoryview(bytearray(BUFFER_BYTES if throttle is None else min(BUFFER_BYTES, throttle.sip_bytes)))
    while count := reply.read_into(buffer):
        tail.append(buffer[:count])
        tell()
        if throttle is not None:
            throttle.spend(count, means.clock)


def _check_end(part: Part, tail: Tail, reply: Reply, total: int | None) -> None:
    if total is not None and tail.size_bytes < total:
        raise Unavailable(f"{display(part.url)}: the connection ended at byte {tail.size_bytes} of {total}")
    if total is None and not reply.is_delimited and part.sha256 is None:
        raise Terminal(
            f"{display(part.url)}: the server states no length, so a cut would go unseen",
            hint="declare spec.sha256",
        )

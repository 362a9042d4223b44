"""The header of a model file that is not here yet: a few range requests instead of the file.

Called by plan and `models estimate` before a download. Over the same addresses, trust and retries as a download; the
parser is `gguf`'s, told how to read. A split model's shards are read one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nexus_ctl.artifacts.headers.folder import Folder
from nexus_ctl.artifacts.headers.gguf import HeaderRead, read_header
from nexus_ctl.artifacts.headers.window import BadHeader, Read
from nexus_ctl.artifacts.source import Means, Part
from nexus_ctl.artifacts.transfer.address import display
from nexus_ctl.artifacts.transfer.transport import RangeUnsatisfiable, opened, persist, probe
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.weights import merge_shards


def read_urls(urls: Sequence[str], means: Means, token: str | None = None) -> HeaderRead:
    """The header of the model at these addresses: one file, or all shards of a split one, in any order.

    Raises BadHeader, Terminal (not there, forbidden, no ranges) or Retryable.
    """
    reads = [_read_one(url, means, token) for url in urls]
    try:
        header = merge_shards(read.header for read in reads) if len(reads) > 1 else reads[0].header
    except ValueError as error:
        raise BadHeader(f"{display(urls[0])}: {error}") from error
    return HeaderRead(header, sum(read.requests for read in reads), sum(read.bytes_read for read in reads))


def remote_folder(parts: Iterable[Part], token: str | None, means: Means) -> Folder:
    """The files of a repository, each read by ranges."""
    return Folder({part.name: (ranged(part.url, means, token), part.size_bytes or 0) for part in parts})


def ranged(url: str, means: Means, token: str | None = None, validator: str | None = None) -> Read:
    """A `read(offset, length)` over range requests. It raises Terminal where the server sends no ranges, or the file
    changed since `validator` was said."""
    condition = {"If-Range": validator} if validator else {}

    def attempt(offset: int, length: int) -> bytes:
        headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity", **condition}
        buffer, filled = memoryview(bytearray(length)), 0
        try:
            with opened(url, token=token, headers=headers, stall_seconds=means.patience.stall_seconds) as reply:
                if reply.status != 206 and offset:
                    raise Terminal(f"{display(url)}: the server sends no ranges, or the file has just changed")
                while filled < length and (count := reply.read_into(buffer[filled:])):
                    filled += count
        except RangeUnsatisfiable:
            return b""  # at or beyond the end of the file
        return bytes(buffer[:filled])

    return lambda offset, length: persist(lambda: attempt(offset, length), means)


def _read_one(url: str, means: Means, token: str | None) -> HeaderRead:
    size, validator = probe(url, token, means)
    found = read_header(ranged(url, means, token, validator), size or 0)
    return HeaderRead(found.header, found.requests + 1, found.bytes_read + 1)

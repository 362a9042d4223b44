"""A forward look into a file through `read(offset, length)`: windows that grow, within limits.

Beneath the header readers, on local files and range requests alike. The rule it keeps: whatever the bytes are, what is
asked for and kept stays within `Limits`; everything else is a `BadHeader`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from nexus_ctl.errors import Terminal

Read = Callable[[int, int], bytes]
"""`read(offset, length)`: that many bytes from there; fewer only at the end of the file."""


class BadHeader(Terminal):
    """The file is not what it claims to be, or asks for more than a header may."""

    code = "bad-header"
    summary = "the model file's header cannot be used"


class NotGguf(BadHeader):
    """The file does not even claim to be a GGUF."""

    code = "not-gguf"
    summary = "the model file is no GGUF"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a header may ask for. The largest real ones (a vocabulary of 262,144 with merges) stay below a third."""

    header_bytes: int = 64 << 20
    fetch_bytes: int = 4 << 20
    """The largest single read."""
    keys: int = 4096
    string_bytes: int = 4 << 20
    """A chat template is the longest string in practice, about 100 KiB."""
    kept_bytes: int = 16 << 20
    """Everything that is kept, together; an item of an array counts as 32 bytes."""
    array_items: int = 1 << 22
    kept_numbers: int = 2048
    """Number arrays up to this length are kept (values per layer); longer ones are counted."""
    kept_strings: int = 64
    """String arrays up to this length are kept (languages, tags); longer ones are counted."""
    tensors: int = 1 << 16
    name_bytes: int = 256
    dims: int = 4
    alignment: int = 1 << 20


LIMITS = Limits()
_U64 = Struct("<Q")
_FIRST_FETCH = 64 << 10


class Window:
    """A place in the file with a window of bytes behind it. Windows double up to the limit: few requests, no waste."""

    def __init__(self, read: Read, limits: Limits) -> None:
        self._read, self._limits = read, limits
        self._window, self._start, self._fetch = b"", 0, _FIRST_FETCH
        self.position = self.requests = self.bytes_read = 0

    def take(self, length: int) -> bytes:
        """The next `length` bytes. Raises BadHeader where the file ends or the header would grow too large."""
        begin = self.position - self._start
        if begin + length > len(self._window):
            self._fill(length)
            begin = 0
        self.position += length
        return self._window[begin : begin + length]

    def skip(self, length: int) -> None:
        """Step over bytes without reading them, as far as they are not in the window already."""
        self.position += length
        self._check(self.position)

    def count_strings(self, count: int) -> None:
        """Step over `count` strings: lengths stand inside the data, so every byte is fetched, none is kept."""
        unpack, limit = _U64.unpack_from, self._limits.string_bytes
        done = 0
        while done < count:
            window, at = self._window, self.position - self._start
            end = len(window) - 8
            while done < count and 0 <= at <= end:
                length = unpack(window, at)[0]
                if length > limit:
                    raise BadHeader(f"a string of {length} bytes in an array; at most {limit} are allowed")
                at += 8 + length
                done += 1
            self.skip(at - (self.position - self._start))
            if done < count:
                self.take(8)
                self.position -= 8

    def _fill(self, length: int) -> None:
        self._check(self.position + length)
        kept = self._window[max(self.position - self._start, 0) :] if self.position >= self._start else b""
        at = self.position + len(kept)
        wanted = max(self._fetch, length - len(kept))
        fresh = self._read(at, min(wanted, self._limits.header_bytes - at))
        self.requests += 1
        self.bytes_read += len(fresh)
        self._fetch = min(self._fetch * 2, self._limits.fetch_bytes)
        self._window, self._start = kept + fresh, self.position
        if len(self._window) < length:
            raise BadHeader(f"the file ends inside its header, at byte {at + len(fresh)}")

    def _check(self, end: int) -> None:
        if end > self._limits.header_bytes:
            raise BadHeader(f"the header is larger than {self._limits.header_bytes} bytes")

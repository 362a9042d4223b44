"""How fast all downloads of one nexusctl may go together: a bucket of bytes that fills at the declared rate.

Called by `download.py` after each read. The rule: over any span no more goes through than the rate times the span, and
one bucket besides. What is read ahead by the kernel is bounded by its socket buffers. Time and sleep are the clock's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

from nexus_ctl.clock import Clock

BURST_SECONDS = 0.25
"""How much may go through at once, as time at the full rate."""
SIP_BYTES = 4 << 10
"""No read is smaller than this, however low the rate."""


@dataclass
class Throttle:
    """Shared by all threads that download. `bytes_per_second` is more than 0."""

    bytes_per_second: int
    _credit_bytes: float = field(default=0.0, init=False)
    _at_seconds: float | None = field(default=None, init=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    @property
    def sip_bytes(self) -> int:
        """How much to read at once, so that a low rate is many small reads and not rare large ones."""
        return max(SIP_BYTES, int(self.bytes_per_second * BURST_SECONDS))

    def spend(self, count: int, clock: Clock) -> None:
        """Sleep until `count` bytes, just read, are within the rate. Who comes later waits for who came before."""
        with self._lock:
            now = clock.monotonic()
            earned = (now - self._at_seconds) * self.bytes_per_second if self._at_seconds is not None else 0.0
            self._credit_bytes = min(self._credit_bytes + earned, self.bytes_per_second * BURST_SECONDS) - count
            self._at_seconds = now
            owed = -self._credit_bytes
        if owed > 0:
            clock.sleep(owed / self.bytes_per_second)

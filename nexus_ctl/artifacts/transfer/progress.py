"""How fast a transfer is and when it will be done, as a value that whoever shows progress folds its news into."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nexus_ctl.resources.artifact import Progress

HALF_LIFE_SECONDS = 5.0
"""News counts half after so long: calm to read, and true again soon after a change."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Smoothed speed. Feed it each Progress with the time it was told; a new phase, or a step back, starts afresh."""

    phase: str = ""
    done_bytes: int = 0
    total_bytes: int | None = None
    at_seconds: float = 0.0
    bytes_per_second: float | None = None
    """None until two moments are known."""

    def after(self, news: Progress, at_seconds: float) -> Rate:
        """The rate with one more report, told at `at_seconds` of a monotonic clock."""
        fresh = Rate(news.phase, news.done_bytes, news.total_bytes, at_seconds)
        elapsed = at_seconds - self.at_seconds
        if news.phase != self.phase or news.done_bytes < self.done_bytes:
            return fresh
        if elapsed <= 0:
            return self
        speed = (news.done_bytes - self.done_bytes) / elapsed
        if self.bytes_per_second is not None:
            kept = math.exp2(-elapsed / HALF_LIFE_SECONDS)
            speed = kept * self.bytes_per_second + (1 - kept) * speed
        return Rate(news.phase, news.done_bytes, news.total_bytes, at_seconds, speed)

    @property
    def remaining_seconds(self) -> float | None:
        """Until it is done at this speed; None when length or speed is not known, or nothing moves."""
        if self.total_bytes is None or not self.bytes_per_second:
            return None
        return max(self.total_bytes - self.done_bytes, 0) / self.bytes_per_second

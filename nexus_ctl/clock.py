"""Time, ids and randomness, handed in so that planning stays pure and tests own the clock."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """Wall time, timezone-aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        ...


class Ids(Protocol):
    """Where random identifiers come from."""

    def hex(self, nbytes: int) -> str:
        """`nbytes` random bytes as lower-case hex."""
        ...


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds (`2026-11-22T18:07:24.000000Z`): sorts as text, parses back exactly."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def moment(text: str) -> datetime:
    """From `stamp`'s form. Raises ValueError."""
    return datetime.fromisoformat(text)


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SystemIds:
    """The machine's randomness."""

    def hex(self, nbytes: int) -> str:
        return secrets.token_hex(nbytes)

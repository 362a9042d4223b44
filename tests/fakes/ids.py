"""Identifiers that are the same in every run."""

from __future__ import annotations

import hashlib


class FakeIds:
    """Counts, and hashes the count so that ids look like ids."""

    def __init__(self, seed: str = "") -> None:
        self._seed = seed
        self._count = 0

    def hex(self, nbytes: int) -> str:
        self._count += 1
        return hashlib.sha512(f"{self._seed}{self._count}".encode()).hexdigest()[: 2 * nbytes]

"""A cache and an origin of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.http_origin import HttpOrigin
from tests.nexus_ctl.artifacts.bench import Bench


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, origin: HttpOrigin) -> Bench:
    return Bench(tmp_path / "cache", origin)

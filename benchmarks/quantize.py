"""Quantizing as `apply` does it, beside llama.cpp's own library called directly, in turn, on the real model.

Ours is the whole build: the child's start, the work, fsync, digest, check against the plan, record. The library's is
one call in a process of its own, which ends when the file is written. One thread and the same low priority each.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from unittest.mock import patch

from benchmarks.first_token import find_model
from benchmarks.row import Row
from nexus_ctl.artifacts.builds import build as building
from nexus_ctl.artifacts.builds.bounded import run as run_bounded
from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.source import Means
from nexus_ctl.clock import SystemClock
from nexus_ctl.resources.artifact import Quantization, Request
from nexus_ctl.resources.model import Source
from nexus_ctl.resources.quantization import FILE_TYPES
from tests.fixtures.libllama import LIBRARIES

TURNS = 3
TYPES = ("Q4_K_M", "Q8_0")


def run() -> Sequence[Row]:
    """A row per type. Without the npm package (`make npm`) there is no peer."""
    return [_row(kind) for kind in TYPES]


def _row(kind: str) -> Row:
    source, ours, theirs = find_model(), [], []
    for _ in range(TURNS):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            ours.append(_ours(Path(folder).resolve(), source, kind))
            if LIBRARIES.exists():
                theirs.append(_theirs(Path(folder).resolve(), source, kind))
    peer = statistics.median(theirs) if theirs else None
    what, value = f"quantize SmolLM2-135M to {kind}", statistics.median(ours)
    return Row(what, value, "s", "llama_model_quantize", peer, ratio_at_most=2)


def _ours(folder: Path, source: Path, kind: str) -> float:
    cache = Cache(folder / "cache", Means(SystemClock(), {}))
    request = Request(Source(path=str(source)), None, (Quantization(kind),))
    base = cache.find(request.base)
    assert base is not None
    with patch.object(building, "threads", lambda: 1):
        start = perf_counter()
        cache.build(request, request.identity_from([base.identity]), lambda _: None)
        return perf_counter() - start


def _theirs(folder: Path, source: Path, kind: str) -> float:
    program = [sys.executable, "-m", "tests.fixtures.libllama", str(source), str(folder / "theirs.gguf")]
    start = perf_counter()
    error = run_bounded([*program, str(FILE_TYPES[kind].number), "1"], memory_bytes=4 << 30, tick=lambda: None)
    taken = perf_counter() - start
    assert not error, error
    return taken

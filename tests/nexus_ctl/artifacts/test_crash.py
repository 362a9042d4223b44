"""`kill -9` at any byte, and two at once: real processes, a real server, one right file in the end."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexus_ctl.artifacts.transfer.download import BUFFER_BYTES
from tests.nexus_ctl.artifacts.bench import Bench

CONTENT = random.Random(11).randbytes(8 << 20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FETCH = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from nexus_ctl.artifacts.cache import Cache
    from nexus_ctl.artifacts.source import Means, Patience
    from nexus_ctl.clock import SystemClock
    from nexus_ctl.resources.artifact import Request
    from nexus_ctl.resources.model import Source

    root, url, sha256, kill_at = Path(sys.argv[1]), sys.argv[2], sys.argv[3] or None, int(sys.argv[4])

    def watch(progress):
        if 0 <= kill_at <= progress.done_bytes:
            os.kill(os.getpid(), signal.SIGKILL)

    cache = Cache(root, Means(SystemClock(), {}, Patience(first_delay_seconds=0.01)))
    request = Request(Source(url=url), sha256)
    print(cache.fetch(request, cache.resolve(request), watch).sha256)
""")


def words(bench: Bench, sha256: str | None, kill_at: int = -1) -> list[str]:
    return [sys.executable, "-c", FETCH, str(bench.root), bench.url().source.url or "", sha256 or "", str(kill_at)]


def run(bench: Bench, sha256: str | None, kill_at: int = -1) -> subprocess.CompletedProcess[str]:
    """Fetch in a process that kills itself once so many bytes are on disk."""
    return subprocess.run(words(bench, sha256, kill_at), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_killed_at_any_byte_the_next_one_goes_on(bench: Bench, sha256: str | None) -> None:
    chance = random.Random(17)
    places = [1, *(chance.randrange(n << 20, (n + 1) << 20) for n in (1, 3, 5)), len(CONTENT)]
    request = bench.url(sha256=sha256)
    bench.origin.put("/model.gguf", CONTENT)
    for kill_at in places:
        assert run(bench, sha256, kill_at).returncode == -signal.SIGKILL
        assert bench.cache.find(request) is None
        assert bench.files("blobs") == bench.files("records") == []
        assert bench.cache.partial_bytes(request) >= kill_at
    assert run(bench, sha256).stdout.strip() == SHA256
    artifact = bench.cache.find(request)
    assert artifact is not None
    assert Path(artifact.path).read_bytes() == CONTENT
    assert bench.files("partial") == []


def test_what_a_kill_costs_is_bounded(bench: Bench) -> None:
    """The server may have sent ahead what the killed process never read; on disk nothing is asked for twice."""
    bench.origin.put("/model.gguf", CONTENT)
    kill_at = 5 << 20
    assert run(bench, SHA256, kill_at).returncode == -signal.SIGKILL
    have = bench.cache.partial_bytes(bench.url(sha256=SHA256))
    assert kill_at <= have <= kill_at + BUFFER_BYTES
    assert run(bench, SHA256).returncode == 0
    assert bench.origin.log[-1].range == f"bytes={have}-"
    assert bench.origin.log[-1].sent == len(CONTENT) - have


def test_killed_between_rename_and_record_nothing_is_brought_again(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT)
    bench.fetch(bench.url())
    sent = bench.origin.sent
    for sha256 in (None, SHA256):
        request = bench.url(sha256=sha256)
        for record in bench.files("records"):
            record.unlink()
        bench.cache.layout.partial(request.key, "model.gguf").with_suffix(".json").write_text(
            left_sidecar(bench, sha256)
        )
        assert bench.fetch(request).sha256 == SHA256
    assert bench.origin.sent == sent


def left_sidecar(bench: Bench, sha256: str | None) -> str:
    """What a download of the same content leaves when it is killed right after the rename."""
    etag = f'"{hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()}"'
    return json.dumps(
        {
            "key": bench.url(sha256=sha256).key,
            "origin": bench.url().source.url,
            "size_bytes": len(CONTENT),
            "sha256": sha256,
            "git_oid": None,
            "validator": etag,
            "started_at": "2026-01-01T00:00:00+00:00",
            "verified": SHA256,
        }
    )


def test_two_at_once_bring_it_once(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run, bench, None) for _ in range(2)]
        assert [done.result().stdout.strip() for done in both] == [SHA256, SHA256]
    assert bench.origin.sent == len(CONTENT)


def test_two_requests_for_the_same_content_bring_it_once(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT)
    bench.origin.put("/mirror.gguf", CONTENT)

    def fetch(path: str) -> str:
        request = bench.url(path, SHA256)
        cache = bench.cache
        return cache.fetch(request, cache.resolve(request), lambda _: None).sha256

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fetch, ["/model.gguf", "/mirror.gguf"])) == [SHA256, SHA256]
    assert bench.origin.sent == len(CONTENT)


def test_who_waits_takes_over_when_the_first_is_killed(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(run, bench, SHA256, len(CONTENT) // 2), pool.submit(run, bench, SHA256)
        assert second.result().stdout.strip() == SHA256
        assert first.result().returncode in (-signal.SIGKILL, 0)  # 0 when the other came first

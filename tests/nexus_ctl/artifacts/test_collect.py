"""What may go, and what never does."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from nexus_ctl.artifacts.collect import GRACE, Garbage, collect, garbage
from nexus_ctl.artifacts.disk import locked
from nexus_ctl.clock import SystemClock
from nexus_ctl.errors import IntegrityError, Retryable
from nexus_ctl.resources.artifact import Pin, Request
from tests.fakes.clock import FakeClock
from tests.nexus_ctl.artifacts.bench import Bench, digest

CONTENT = b"weights " * 1000


def pinned(bench: Bench, request: Request, sha256: str | None = None) -> Pin:
    pin = Pin("i1", "lab", "qwen3", request.key, json.dumps({"sha256": sha256} if sha256 else {}))
    bench.cache.pin(pin)
    return pin


def listed(bench: Bench, grace: timedelta = GRACE) -> tuple[Garbage, ...]:
    return garbage(bench.cache.layout, bench.clock, grace)


def collected(bench: Bench, grace: timedelta = GRACE) -> list[str]:
    return [item.kind for item in collect(bench.cache.layout, bench.clock, listed(bench, grace), grace)]


def test_an_artifact_nobody_pins_goes_after_the_grace_time(bench: Bench) -> None:
    request = bench.url(bench.origin.put("/a", CONTENT).removeprefix(bench.origin.url))
    artifact = bench.fetch(request)
    assert listed(bench) == ()
    bench.clock.advance(GRACE.total_seconds())
    (item,) = listed(bench)
    assert item == Garbage("artifact", artifact.path, len(CONTENT), artifact.origin, (request.key,))
    assert collected(bench) == ["artifact"]
    assert bench.cache.find(request) is None
    assert bench.files("blobs") == bench.files("records") == bench.files("memo") == []


def test_what_a_pin_holds_stays_also_when_another_brought_it(bench: Bench) -> None:
    bench.origin.put("/a", CONTENT)
    request = bench.url("/a")
    artifact = bench.fetch(request)
    bench.clock.advance(1e6)
    pin = pinned(bench, request)
    assert listed(bench) == ()
    bench.cache.unpin(pin, delete_bytes=False)
    pinned(bench, bench.url("/elsewhere", digest(CONTENT)), digest(CONTENT))
    assert listed(bench) == ()
    assert bench.cache.find(request) == artifact


def test_what_was_pinned_between_listing_and_removal_stays(bench: Bench) -> None:
    bench.origin.put("/a", CONTENT)
    artifact = bench.fetch(bench.url("/a"))
    items = listed(bench, timedelta(0))
    assert [item.kind for item in items] == ["artifact"]
    pinned(bench, bench.url("/a"))
    assert collect(bench.cache.layout, bench.clock, items, timedelta(0)) == ()
    assert bench.cache.find(bench.url("/a")) == artifact


def test_what_a_replica_was_given_stays_by_whatever_name(bench: Bench, tmp_path: Path) -> None:
    bench.origin.put("/a", CONTENT)
    artifact = bench.fetch(bench.url("/a"))
    bench.clock.advance(1e6)
    other = tmp_path / "link"
    other.hardlink_to(artifact.path)
    for given in (artifact.path, str(other), str(Path(artifact.path).parent)):
        used = frozenset({given})
        assert garbage(bench.cache.layout, bench.clock, in_use=used) == ()
        assert collect(bench.cache.layout, bench.clock, listed(bench), in_use=used) == ()
    other.unlink()
    assert len(garbage(bench.cache.layout, bench.clock, in_use=frozenset({"/no/such/file"}))) == 1
    assert collected(bench) == ["artifact"]


def test_a_digest_that_is_declared_of_a_source_does_not_hold_what_is_not_served(bench: Bench) -> None:
    bench.origin.put("/a", CONTENT)
    request = bench.url("/a", digest(CONTENT))
    bench.fetch(request)
    bench.clock.advance(1e6)
    spec = json.dumps({"sha256": digest(CONTENT), "quantize": {"type": "Q8_0"}})
    bench.cache.pin(Pin("i1", "lab", "qwen3", "the key of what was built", spec))
    assert [item.kind for item in listed(bench)] == ["artifact"]


def test_an_old_partial_goes_and_a_young_one_stays(bench: Bench) -> None:
    bench.origin.put("/a", CONTENT, cut_at=3000, cut_times=99)
    with pytest.raises(Retryable):
        bench.fetch(bench.url("/a"))
    assert listed(bench) == ()
    bench.clock.advance(GRACE.total_seconds())
    assert [(item.kind, item.size_bytes) for item in listed(bench)] == [("partial", 3000)]
    assert collected(bench) == ["partial"]
    assert bench.files("partial") == []


def test_a_running_fetch_is_left_alone(bench: Bench) -> None:
    gate = threading.Event()
    bench.origin.put("/a", CONTENT, gate=gate)
    request = bench.url("/a")
    offer = bench.cache.resolve(request)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.cache.fetch, request, offer, bench.told.append)
        while not bench.files("partial"):
            assert not running.done()
        assert listed(bench, timedelta(0)) == ()
        gate.set()
        assert running.result().sha256 == digest(CONTENT)


def test_a_fetch_that_begins_after_the_listing_is_left_alone(bench: Bench) -> None:
    bench.origin.put("/a", CONTENT)
    artifact = bench.fetch(bench.url("/a"))
    items = listed(bench, timedelta(0))
    layout = bench.cache.layout
    with locked(layout.lock(bench.url("/a").key), bench.clock):
        assert collect(layout, bench.clock, items, timedelta(0)) == ()
    assert bench.cache.find(bench.url("/a")) == artifact


def test_what_failed_its_check_and_what_a_kill_left(bench: Bench) -> None:
    bench.origin.put("/a", CONTENT, wrong_first_byte=True)
    with pytest.raises(IntegrityError):
        bench.fetch(bench.url("/a", digest(CONTENT)))
    for name in ("records/x.tmp", "partial/0123456789abcdef.00000000.tmp", "partial/ff.00.part"):
        (bench.root / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.root / name).write_bytes(b"half")
    bench.clock = clock_of_the_files()
    bench.clock.advance(2 * GRACE.total_seconds())
    kinds = [item.kind for item in listed(bench)]
    assert kinds == ["leftover", "leftover", "leftover", "partial", "quarantined"]
    assert collected(bench) == kinds
    assert bench.files(".") == bench.files("locks")


def clock_of_the_files() -> FakeClock:
    """Leftovers have no date but the file system's."""
    return FakeClock(SystemClock().now())


def test_content_that_another_link_keeps_frees_nothing(bench: Bench) -> None:
    bench.origin.put("/a", CONTENT)
    artifact = bench.fetch(bench.url("/a"))
    kept = bench.root.with_name("kept.gguf")
    kept.hardlink_to(artifact.path)
    assert [item.size_bytes for item in listed(bench, timedelta(0))] == [0]
    pin = pinned(bench, bench.url("/a"))
    assert bench.cache.unpin(pin, delete_bytes=True) == 0
    assert kept.read_bytes() == CONTENT


def test_foreign_files_are_never_touched(bench: Bench) -> None:
    names = ["blobs/mine.gguf", "notes.txt", "partial/readme"]
    for name in names:
        (bench.root / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.root / name).write_text("mine")
    bench.clock = clock_of_the_files()
    bench.clock.advance(1e6)
    assert collected(bench) == []
    assert all((bench.root / name).read_text() == "mine" for name in names)


def test_an_empty_cache_has_nothing(bench: Bench) -> None:
    assert listed(bench) == ()

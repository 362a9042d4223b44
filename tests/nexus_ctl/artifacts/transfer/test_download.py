"""The download against a server that cuts, lies, forgets, redirects and sulks."""

from __future__ import annotations

import hashlib
import random
import resource
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from nexus_ctl.artifacts.source import Means, Part
from nexus_ctl.artifacts.transfer.download import BUFFER_BYTES, download
from nexus_ctl.artifacts.transfer.partial import Partial, Sidecar
from nexus_ctl.artifacts.transfer.throttle import BURST_SECONDS, Throttle
from nexus_ctl.errors import DeadlineExceeded, IntegrityError, Retryable, Terminal
from nexus_ctl.resources.artifact import Progress, Request
from nexus_ctl.resources.model import Source
from tests.fakes.clock import FakeClock
from tests.fakes.http_origin import HttpOrigin
from tests.nexus_ctl.artifacts.bench import Bench

CONTENT = random.Random(7).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_a_cut_connection_is_taken_up_again_within_one_fetch(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, cut_at=1_234_567)
    assert bench.fetch(bench.url()).sha256 == SHA256
    assert bench.origin.sent == len(CONTENT)
    assert bench.origin.log[-1].range == "bytes=1234567-"
    assert bench.origin.log[-1].headers["if-range"].startswith('"')


def test_a_flaky_line_gets_there_in_the_end(bench: Bench) -> None:
    """More cuts than failures are allowed; each attempt makes progress, so none counts."""
    many = bench.patience.failures + 4
    content = CONTENT * 5
    bench.origin.put("/model.gguf", content, etag='"v1"')
    served = bench.origin.file("/model.gguf")
    served.cut_at, served.cut_times = 1_100_000, 1

    def cut_again(progress: Progress) -> None:
        if progress.done_bytes > served.cut_at and served.cut_at < 1_100_000 * many:
            served.cut_at, served.cut_times = served.cut_at + 1_100_000, 1

    cache = bench.cache
    artifact = cache.fetch(bench.url(), cache.resolve(bench.url()), cut_again)
    assert artifact.size_bytes == len(content)


def test_a_server_that_ignores_ranges_starts_over(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, cut_at=2_000_000, cut_times=3, ranges=False)  # so are both probes
    assert bench.fetch(bench.url()).sha256 == SHA256
    assert bench.origin.sent == 2_000_000 + len(CONTENT)


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_partial_of_another_version_is_never_continued(bench: Bench, sha256: str | None) -> None:
    request = bench.url(sha256=sha256)
    old = bytes(reversed(CONTENT))
    bench.origin.put("/model.gguf", old, cut_at=2_000_000, cut_times=99)
    with pytest.raises(Retryable):
        bench.fetch(request)
    bench.origin.put("/model.gguf", CONTENT)
    assert bench.fetch(request).sha256 == SHA256


def test_without_any_validator_only_a_digest_allows_to_continue(bench: Bench) -> None:
    for sha256, sent in ((None, 1_000_000 + len(CONTENT)), (SHA256, len(CONTENT))):
        before = bench.origin.sent
        bench.origin.put("/model.gguf", CONTENT, etag=None, cut_at=1_000_000, cut_times=3)
        with pytest.raises(Retryable):
            bench.fetch(bench.url(sha256=sha256))
        assert bench.fetch(bench.url(sha256=sha256)).sha256 == SHA256
        bench.root.rename(bench.root.with_name(f"done-{sha256}"))
        assert bench.origin.sent - before == sent


def test_the_date_of_the_last_change_serves_as_validator(bench: Bench) -> None:
    date = "Sun, 22 Nov 2026 10:00:00 GMT"
    bench.origin.put("/model.gguf", CONTENT, etag=None, last_modified=date, cut_at=1_000_000)
    assert bench.fetch(bench.url()).sha256 == SHA256
    assert bench.origin.log[-1].headers["if-range"] == date
    assert bench.origin.sent == len(CONTENT)


def test_a_weak_etag_is_no_validator(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, etag='W/"v1"', cut_at=1_000_000)
    assert bench.fetch(bench.url()).identity.startswith("size:")
    assert "if-range" not in bench.origin.log[-1].headers


def test_a_whole_partial_is_proven_without_asking_again(bench: Bench) -> None:
    """As after a kill between the last byte and the rename."""
    request = bench.url(sha256=SHA256)
    bench.origin.put("/model.gguf", CONTENT)

    def die_at_the_end(progress: Progress) -> None:
        if progress.done_bytes == len(CONTENT):
            raise KeyboardInterrupt

    offer = bench.cache.resolve(request)
    with pytest.raises(KeyboardInterrupt):
        bench.cache.fetch(request, offer, die_at_the_end)
    assert bench.cache.find(request) is None
    assert bench.cache.partial_bytes(request) == len(CONTENT)
    sent = bench.origin.sent
    assert bench.cache.fetch(request, offer, bench.told.append).sha256 == SHA256
    assert bench.origin.sent == sent


def test_a_length_that_is_only_known_afterwards(bench: Bench) -> None:
    """No length stated: whole only if the digest says so."""
    bench.origin.put("/model.gguf", CONTENT, says_length=False, ranges=False)
    assert bench.cache.resolve(bench.url()).size_bytes is None
    with pytest.raises(Terminal, match="a cut would go unseen"):
        bench.fetch(bench.url())
    assert bench.fetch(bench.url(sha256=SHA256)).size_bytes == len(CONTENT)


def test_an_empty_file(bench: Bench) -> None:
    bench.origin.put("/model.gguf", b"")
    assert bench.fetch(bench.url()).size_bytes == 0


def test_wrong_bytes_are_kept_aside_and_asked_for_once_more(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, wrong_first_byte=True)
    request = bench.url(sha256=SHA256)
    with pytest.raises(IntegrityError) as caught:
        bench.fetch(request)
    assert bench.origin.sent == 2 * len(CONTENT)
    (aside,) = bench.files("bad")
    assert aside.stat().st_size == len(CONTENT)
    assert str(aside) in caught.value.hint
    assert bench.files("blobs") == []
    assert bench.cache.find(request) is None
    bench.origin.file("/model.gguf").wrong_first_byte = False
    assert bench.fetch(request).sha256 == SHA256


def test_a_partial_damaged_on_disk_is_found_out_and_brought_again(bench: Bench) -> None:
    request = bench.url(sha256=SHA256)
    bench.origin.put("/model.gguf", CONTENT, cut_at=1_000_000, cut_times=3)
    with pytest.raises(Retryable):
        bench.fetch(request)
    (partial,) = [path for path in bench.files("partial") if path.suffix == ".part"]
    partial.write_bytes(b"x" + partial.read_bytes()[1:])
    assert bench.fetch(request).sha256 == SHA256


def test_a_partial_longer_than_the_file_starts_over(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, cut_at=1_000_000, cut_times=3)
    with pytest.raises(Retryable):
        bench.fetch(bench.url())
    (partial,) = [path for path in bench.files("partial") if path.suffix == ".part"]
    partial.write_bytes(bytes(len(CONTENT) + 1))
    assert bench.fetch(bench.url()).sha256 == SHA256


def test_busy_servers_are_asked_again_when_they_say(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, busy=2, retry_after="17")
    assert bench.fetch(bench.url()).sha256 == SHA256
    assert bench.clock.monotonic() == 34


def test_a_server_that_wants_to_be_left_alone_for_an_hour_is(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, busy=1, retry_after="3600")
    with pytest.raises(Retryable, match="503"):
        bench.fetch(bench.url())
    assert bench.clock.monotonic() == 0


def test_waiting_doubles(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, busy=99)
    with pytest.raises(Retryable, match="HTTP 503"):
        bench.cache.resolve(bench.url())
    assert bench.clock.monotonic() == 0.5 + 1.0


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "forbidden", Terminal),
        (403, "forbidden", Terminal),
        (404, "no-such-source", Terminal),
        (410, "no-such-source", Terminal),
        (400, "terminal", Terminal),
        (429, "retryable", Retryable),
        (500, "retryable", Retryable),
        (503, "retryable", Retryable),
    ],
)
def test_refusals_say_whether_to_try_again(bench: Bench, status: int, code: str, kind: type[Exception]) -> None:
    bench.origin.put("/model.gguf", CONTENT, status=status)
    with pytest.raises(kind, match=f"HTTP {status}") as caught:
        bench.cache.resolve(bench.url())
    assert caught.value.code == code  # type: ignore[attr-defined]


def test_nobody_listens(bench: Bench) -> None:
    with HttpOrigin() as gone:
        address = gone.put("/model.gguf", CONTENT)
    with pytest.raises(Retryable, match="refused"):
        bench.cache.resolve(Request(Source(url=address)))


def test_silence_ends_at_the_deadline_and_keeps_what_came(bench: Bench) -> None:
    bench.patience = replace(bench.patience, failures=1, stall_seconds=0.3)
    bench.origin.put("/model.gguf", CONTENT, gate=threading.Event())
    with pytest.raises(DeadlineExceeded, match="silent"):
        bench.fetch(bench.url())
    assert 0 < bench.cache.partial_bytes(bench.url()) < len(CONTENT)


def test_a_silent_source_is_asked_again_and_goes_on_where_it_fell_silent(bench: Bench) -> None:
    gate = threading.Event()

    class Clock(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            bench.origin.file("/model.gguf").gate = None  # what is asked from now on is answered whole

    bench.patience, bench.clock = replace(bench.patience, stall_seconds=0.3), Clock()
    bench.origin.put("/model.gguf", CONTENT, gate=gate)
    assert bench.fetch(bench.url()).sha256 == SHA256
    gate.set()
    (again,) = [asked.range for asked in bench.origin.log if asked.range not in ("", "bytes=0-0")]
    begin = int(again.removeprefix("bytes=").removesuffix("-"))
    assert len(CONTENT) // 2 - BUFFER_BYTES < begin <= len(CONTENT) // 2
    assert bench.clock.monotonic() > 0, "it was given a moment"


@pytest.mark.parametrize("rate", [4096, 1 << 20, 64 << 20])
def test_a_limited_download_takes_its_time_by_the_clock(bench: Bench, rate: int) -> None:
    bench.throttle = Throttle(rate)
    bench.origin.put("/model.gguf", CONTENT)
    before = bench.clock.monotonic()
    assert bench.fetch(bench.url()).sha256 == SHA256
    took = bench.clock.monotonic() - before
    assert len(CONTENT) / rate - BURST_SECONDS <= took <= len(CONTENT) / rate


def test_a_disk_without_room_is_said_before_the_first_byte(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT)
    bench.reserve_bytes = 1 << 60
    with pytest.raises(Terminal, match=r"needs 2\.9 MiB; .* free") as caught:
        bench.fetch(bench.url())
    assert caught.value.code == "disk-full"
    assert bench.origin.sent == 0


def test_redirects_are_followed_but_not_down_from_https(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT)
    bench.origin.put("/old", redirect="/model.gguf")
    assert bench.fetch(bench.url("/old")).sha256 == SHA256
    bench.origin.put("/files", redirect="file:///etc/passwd")
    with pytest.raises((Terminal, Retryable)):
        bench.fetch(bench.url("/files"))
    bench.origin.put("/loop", redirect="/loop")
    with pytest.raises((Terminal, Retryable)):
        bench.fetch(bench.url("/loop"))


def test_a_disk_that_fills_up_on_the_way_is_said_so_and_the_bytes_stay(bench: Bench) -> None:
    """Stands for the full disk: the process may write no file beyond half the length."""
    bench.origin.put("/model.gguf", CONTENT)
    cache, request = bench.cache, bench.url()
    offer = cache.resolve(request)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, before[1]))
    try:
        with pytest.raises(Terminal, match="File too large after") as caught:
            cache.fetch(request, offer, bench.told.append)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.code == "disk-full"
    assert cache.partial_bytes(request) == len(CONTENT) // 2
    assert cache.fetch(request, offer, bench.told.append).sha256 == SHA256


def test_another_range_than_asked_starts_over(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, cut_at=500_000, other_range=True)
    assert bench.fetch(bench.url()).sha256 == SHA256


def test_another_length_than_planned_is_refused(bench: Bench) -> None:
    part = Part("model.gguf", bench.origin.put("/model.gguf", CONTENT), len(CONTENT) + 1)
    partial = Partial(bench.root / "model.part")
    partial.begin(Sidecar("key", part.url, part.size_bytes, None, None, None, "2026-01-01T00:00:00+00:00"))
    means = Means(bench.clock, {}, bench.patience)
    with pytest.raises(Terminal, match="has 3000000 bytes now, 3000001 when it was planned"):
        download(part, partial, means, token=None, progress=bench.told.append, quarantine=bench.root / "bad")


@pytest.mark.parametrize("sidecar", ["", "[]", "{}", '{"key": 1}'])
def test_bytes_of_unknown_origin_are_never_continued(bench: Bench, sidecar: str) -> None:
    bench.origin.put("/model.gguf", CONTENT, cut_at=1_000_000, cut_times=3)
    with pytest.raises(Retryable):
        bench.fetch(bench.url())
    (described,) = [path for path in bench.files("partial") if path.suffix == ".json"]
    described.write_text(sidecar)
    assert bench.cache.partial_bytes(bench.url()) == 0
    assert bench.fetch(bench.url()).sha256 == SHA256


def test_a_date_to_come_back_at_counts_from_the_servers_own(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, busy=1)
    served = bench.origin.file("/model.gguf")
    served.retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    assert bench.fetch(bench.url()).sha256 == SHA256
    assert 60 < bench.clock.monotonic() <= 120
    served.busy, served.retry_after = 1, "soon"
    bench.cache.resolve(bench.url())
    assert bench.clock.monotonic() <= 121


def test_an_encoded_answer_is_refused(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, headers={"Content-Encoding": "gzip"})
    with pytest.raises(Terminal, match="encodes"):
        bench.fetch(bench.url())


def test_the_server_is_asked_not_to_encode(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT)
    bench.fetch(bench.url())
    assert {asked.headers["accept-encoding"] for asked in bench.origin.log} == {"identity"}


def test_progress_only_grows_and_ends_at_the_length(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, cut_at=1_234_567)
    bench.fetch(bench.url())
    done = [progress.done_bytes for progress in bench.told]
    assert done == sorted(done)
    assert bench.told[-1] == Progress("download", len(CONTENT), len(CONTENT))

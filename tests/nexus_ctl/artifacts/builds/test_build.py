"""Building in the real cache: killed at any point, stopped, refused; one right file in the end, never half of one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from nexus_ctl.artifacts.builds import tools
from nexus_ctl.artifacts.builds.bounded import run
from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.collect import collect, garbage
from nexus_ctl.artifacts.source import Means
from nexus_ctl.clock import SystemClock
from nexus_ctl.errors import IntegrityError, Interrupted, Retryable, Terminal
from nexus_ctl.resources.artifact import Artifact, Conversion, Progress, Quantization, Request
from nexus_ctl.resources.lock import Locked, LockedFile
from nexus_ctl.resources.model import HuggingFaceSource, Source
from tests.fakes.checkpoints import CHECKPOINTS
from tests.fakes.clock import FakeClock
from tests.fakes.gguf_models import TINY, write
from tests.fakes.http_origin import HttpOrigin
from tests.fakes.hub import FakeHub
from tests.fakes.hub_model import files_of
from tests.nexus_ctl.artifacts.quantize.test_quantized import ours

MOMENTS = 8
"""How many moments of a conversion a kill is tried at; the beginning, where Python starts, is left out."""
BUILD = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from nexus_ctl.artifacts.cache import Cache
    from nexus_ctl.artifacts.source import Means
    from nexus_ctl.clock import SystemClock
    from nexus_ctl.resources.artifact import Conversion, Quantization, Request
    from nexus_ctl.resources.model import HuggingFaceSource, Source

    root, source, kill_phase, kill_at = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])

    def watch(progress):
        if progress.phase == kill_phase and progress.done_bytes >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    cache = Cache(root, Means(SystemClock(), {"HF_ENDPOINT": source}))
    if source.startswith("http"):
        request = Request(Source(hugging_face=HuggingFaceSource(repo="acme/smol")), None, (Conversion("f16"),))
        cache.fetch(request.base, cache.resolve(request.base), lambda _: None)
    else:
        request = Request(Source(path=source), None, (Quantization("Q4_K_M"),))
    identity = request.identity_from([cache.find(request.base).identity])
    print(cache.build(request, identity, watch).sha256)
""")


def start(root: Path, source: Path | str, phase: str = "", at: int = 0) -> subprocess.CompletedProcess[str]:
    """Build in a process that kills itself once it is so far."""
    words = [sys.executable, "-c", BUILD, str(root), str(source), phase, str(at)]
    return subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)


def request_for(source: Path, kind: str = "Q4_K_M") -> Request:
    return Request(Source(path=str(source)), None, (Quantization(kind),))


def a_cache(root: Path, environ: dict[str, str] | None = None, free: int | None = None, reserve: int = 0) -> Cache:
    return Cache(root, Means(SystemClock(), environ or {}, free_memory=lambda: free, reserve_bytes=reserve))


def build(cache: Cache, request: Request, told: list[Progress] | None = None) -> Artifact:
    base = cache.find(request.base)
    assert base is not None
    return cache.build(request, request.identity_from([base.identity]), (told if told is not None else []).append)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write(TINY["llama-gqa"], tmp_path / "tiny.gguf")


def test_killed_at_any_point_the_next_one_makes_the_same(smollm2: Path, tmp_path: Path) -> None:
    goal = start(tmp_path / "quiet", smollm2).stdout.strip()
    root, request = tmp_path / "cache", request_for(smollm2)
    assert len(goal) == 64
    for phase, at in (("quantize", 0), ("quantize", 1), ("quantize", 40 << 20), ("quantize", 90 << 20), ("verify", 1)):
        assert start(root, smollm2, phase, at).returncode == -signal.SIGKILL
        assert a_cache(root).find(request) is None
        assert not list(root.glob("records/*")) + list(root.glob("blobs/*"))
    assert start(root, smollm2).stdout.strip() == goal
    artifact = a_cache(root).find(request)
    assert artifact is not None
    assert artifact.sha256 == goal
    assert not list(root.glob("partial/*"))


def test_a_conversion_killed_at_any_point_is_made_anew(smollm2: Path, tmp_path: Path) -> None:
    ours(smollm2, tmp_path / "f16.gguf", "F16")
    files, root = files_of(tmp_path / "f16.gguf"), tmp_path / "cache"
    request = Request(Source(hugging_face=HuggingFaceSource(repo="acme/smol")), None, (Conversion("f16"),))
    with FakeHub() as hub:
        hub.commit("acme/smol", files)
        ahead = Cache(tmp_path / "ahead", Means(SystemClock(), {"HF_ENDPOINT": hub.url})).forecast(request)
        for phase, at in (("convert", 1), ("convert", 100 << 20), ("verify", 1)):
            assert start(root, hub.url, phase, at).returncode == -signal.SIGKILL
            assert a_cache(root).find(request) is None
            assert not list(root.glob("partial/*.part"))
        assert len(start(root, hub.url).stdout.strip()) == 64
    made = a_cache(root).find(request)
    assert made is not None
    assert ahead.size_bytes == made.size_bytes
    assert not list(root.glob("partial/*"))


@pytest.mark.slow
def test_a_conversion_killed_at_any_moment_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    root, quiet = tmp_path / "cache", tmp_path / "quiet"
    request = Request(Source(hugging_face=HuggingFaceSource(repo="acme/smol")), None, (Conversion("f16"),))
    with FakeHub() as hub:
        hub.commit("acme/smol", CHECKPOINTS["qwen3moe"].files())
        begun = time.monotonic()
        goal = start(quiet, hub.url).stdout.strip()
        whole_seconds = time.monotonic() - begun
        assert len(goal) == 64
        for part in range(MOMENTS):
            words = [sys.executable, "-c", BUILD, str(root), hub.url, "", "0"]
            with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(whole_seconds * (0.3 + 0.7 * part / MOMENTS))
                child.kill()
            found = a_cache(root).find(request)
            assert found is None or found.sha256 == goal
            for blob in root.glob("blobs/*"):
                assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name.removeprefix("sha256-")
            shutil.rmtree(root / "records", ignore_errors=True)
        assert start(root, hub.url).stdout.strip() == goal
    layout, later = a_cache(root).layout, FakeClock(SystemClock().now() + timedelta(hours=2))
    assert {item.kind for item in garbage(layout, later)} <= {"leftover", "artifact"}
    collect(layout, later, garbage(layout, later))
    assert not list(root.glob("partial/*")), "what a kill left half written, gc finds"


def test_the_child_dies_with_whoever_started_it(tmp_path: Path) -> None:
    imports = "from nexus_ctl.artifacts.builds.bounded import run"
    script = f"{imports}; run(['sleep', '300'], memory_bytes=1 << 30, tick=lambda: None)"
    parent = subprocess.Popen([sys.executable, "-c", script])
    try:
        child = _eventually(lambda: [c for c in psutil.Process(parent.pid).children() if c.name() == "sleep"])[0]
        assert child.nice() >= 10
        parent.kill()
        _eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    finally:
        parent.kill()
        parent.wait()


def _eventually(check: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := check()):
        assert time.monotonic() < end, "never came true"
        time.sleep(0.02)
    return found


def test_a_child_that_takes_too_much_memory_is_refused_it() -> None:
    greedy = [sys.executable, "-c", "x = bytearray(1 << 30)"]
    assert "MemoryError" in run(greedy, memory_bytes=256 << 20, tick=lambda: None)
    assert run([sys.executable, "-c", "pass"], memory_bytes=1 << 30, tick=lambda: None) == ""


def test_stopped_by_a_person_it_leaves_nothing(smollm2: Path, tmp_path: Path) -> None:
    cache, request = a_cache(tmp_path / "cache"), request_for(smollm2)

    def stop(progress: Progress) -> None:
        if progress.done_bytes:
            raise Interrupted("asked to")

    base = cache.find(request.base)
    assert base is not None
    with pytest.raises(Interrupted):
        cache.build(request, request.identity_from([base.identity]), stop)
    assert cache.find(request) is None
    assert not list((tmp_path / "cache").glob("partial/*"))


def test_two_at_once_build_it_once(tiny: Path, tmp_path: Path) -> None:
    root, request = tmp_path / "cache", request_for(tiny)
    told: list[list[Progress]] = [[], []]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda mine: build(a_cache(root), request, mine), told))
    assert made[0] == made[1]
    assert sum(any(one.phase == "verify" for one in mine) for mine in told) == 1


def test_the_provenance_says_from_what_and_by_what(tiny: Path, tmp_path: Path) -> None:
    cache, request = a_cache(tmp_path / "cache"), request_for(tiny)
    made, base = build(cache, request), cache.find(request.base)
    assert base is not None
    record = json.loads(cache.layout.record(request.key).read_text())
    assert record["files"][0]["sha256"] == made.sha256
    assert record["built"]["inputs"] == {request.base.key: base.sha256}
    assert record["built"]["recipe"] == {"quantize": "Q4_K_M"}
    assert record["built"]["tool"].startswith("ggml of xllamacpp ")
    assert record["fetched_at"]


def test_a_lost_or_bent_result_is_built_anew(tiny: Path, tmp_path: Path) -> None:
    cache, request = a_cache(tmp_path / "cache"), request_for(tiny)
    made = build(cache, request)
    Path(made.path).write_bytes(b"bent")
    assert a_cache(tmp_path / "cache").find(request) is None
    assert build(cache, request) == made


def test_garbage_is_what_no_pin_holds_and_what_a_kill_left(tiny: Path, tmp_path: Path) -> None:
    cache, request = a_cache(tmp_path / "cache"), request_for(tiny)
    made = build(cache, request)
    left = cache.layout.building("f" * 64)
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    later = FakeClock(SystemClock().now() + timedelta(hours=2))
    found = {item.path: item.kind for item in garbage(cache.layout, later)}
    assert found == {made.path: "artifact", str(left): "leftover"}
    with cache.layout.root.joinpath("locks", "f" * 64).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert str(left) not in {item.path for item in garbage(cache.layout, later)}
    collect(cache.layout, later, garbage(cache.layout, later))
    assert cache.find(request) is None
    assert not left.exists()


def test_what_is_being_built_from_is_no_garbage(tiny: Path, tmp_path: Path) -> None:
    with HttpOrigin() as origin:
        source = Request(Source(url=origin.put("/tiny.gguf", tiny.read_bytes())))
        cache = a_cache(tmp_path / "cache")
        cache.fetch(source, cache.resolve(source), lambda _: None)
    request, later = (
        replace(source, steps=(Quantization("Q4_K_M"),)),
        FakeClock(SystemClock().now() + timedelta(days=1)),
    )
    removed = []

    def collecting(_: Progress) -> None:
        removed.append(collect(cache.layout, later, garbage(cache.layout, later)))

    base = cache.find(source)
    assert base is not None
    cache.build(request, request.identity_from([base.identity]), collecting)
    assert removed
    assert not any(removed)
    assert cache.find(source) == base
    assert len(collect(cache.layout, later, garbage(cache.layout, later))) == 2, "afterwards nobody needs either"


def test_without_room_nothing_is_begun(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(Terminal) as caught:
        build(a_cache(tmp_path / "cache", reserve=1 << 60), request_for(tiny))
    assert caught.value.code == "disk-full"


def test_without_memory_nothing_is_begun(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(Retryable, match="are free"):
        build(a_cache(tmp_path / "cache", free=1 << 20), request_for(tiny))


def test_a_file_that_is_no_gguf_is_refused_while_planning(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    with pytest.raises(Terminal, match="no GGUF") as caught:
        a_cache(tmp_path / "cache").forecast(request_for(tmp_path / "model.bin"))
    assert caught.value.code == "quantization-impossible"


def test_without_any_tool_planning_says_how_to_get_one(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tools, "_package", lambda: None)
    with pytest.raises(Terminal) as caught:
        a_cache(tmp_path / "cache").forecast(request_for(tiny))
    assert caught.value.code == "no-build-tool"
    assert "llama-quantize" in caught.value.hint


PROGRAM = """#!{python}
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.fixtures.libllama import main
print("main: build = 11434 (abc1234)")
source, target, kind, threads = sys.argv[-4:]
if os.path.getsize(source) == 0: sys.exit(1)
from nexus_ctl.resources.quantization import FILE_TYPES
os._exit(main(source, target, str(FILE_TYPES[{kind} or kind].number), threads))
"""


def a_program(folder: Path, kind: str = "''") -> dict[str, str]:
    """llama-quantize's command line over the real library, on a PATH of its own."""
    folder.mkdir()
    program = folder / "llama-quantize"
    program.write_text(PROGRAM.format(python=sys.executable, root=str(Path(__file__).parents[4]), kind=kind))
    program.chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.node
def test_a_program_on_the_path_goes_first_and_makes_the_same(tiny: Path, libllama: Path, tmp_path: Path) -> None:
    environ, request = a_program(tmp_path / "bin"), request_for(tiny)
    cache = a_cache(tmp_path / "theirs", environ)
    assert cache.forecast(request).tool == f"llama-quantize build 11434 (abc1234) ({tmp_path}/bin/llama-quantize)"
    assert build(cache, request).sha256 == build(a_cache(tmp_path / "ours"), request).sha256


@pytest.mark.node
def test_a_program_that_makes_something_else_is_found_out(tiny: Path, libllama: Path, tmp_path: Path) -> None:
    environ = a_program(tmp_path / "bin", "'Q5_K_M'")
    cache = a_cache(tmp_path / "cache", environ)
    with pytest.raises(IntegrityError, match="other tensors than planned"):
        build(cache, request_for(tiny))
    assert cache.find(request_for(tiny)) is None
    assert not list((tmp_path / "cache").glob("blobs/*"))


def test_a_tool_that_fails_says_why(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "llama-quantize"
    program.write_text("#!/bin/sh\necho cannot do this >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(Terminal, match="ended with 3; cannot do this") as caught:
        build(a_cache(tmp_path / "cache", {"PATH": str(tmp_path / "bin")}), request_for(tiny))
    assert caught.value.code == "build-failed"


def test_what_was_built_of_other_bytes_than_are_locked_now_counts_as_absent(tiny: Path, tmp_path: Path) -> None:
    cache, request = a_cache(tmp_path / "cache"), request_for(tiny)
    made = build(cache, request)
    content = hashlib.sha256(tiny.read_bytes()).hexdigest()
    same = Locked({}, {tiny.name: LockedFile(tiny.stat().st_size, f"sha256:{content}")})
    assert cache.find(replace(request, locked=same)) == made
    other = Locked({}, {tiny.name: LockedFile(tiny.stat().st_size, f"sha256:{'0' * 64}")})
    assert cache.find(replace(request, locked=other)) is None

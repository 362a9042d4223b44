"""What the contract does not say of the real cache: what lies on disk, what is trusted, what happens to damage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nexus_ctl.artifacts import memo
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.artifact import Pin, Progress, Request
from nexus_ctl.resources.model import Source
from tests.nexus_ctl.artifacts.bench import Bench, digest

CONTENT = b"weights " * 1000


def here(bench: Bench, sha256: str | None = None) -> Request:
    bench.origin.put("/a.gguf", CONTENT)
    request = bench.url("/a.gguf", sha256)
    bench.fetch(request)
    return request


def test_provenance_lies_beside_the_bytes(bench: Bench) -> None:
    request = here(bench)
    (record,) = bench.files("records")
    assert record.name == f"{request.key}.json"
    assert json.loads(record.read_text()) == {
        "key": request.key,
        "request": {"source": {"url": request.source.url}, "sha256": None},
        "origin": request.source.url,
        "identity": bench.cache.resolve(request).identity,
        "files": [
            {"name": "a.gguf", "sha256": digest(CONTENT), "size_bytes": len(CONTENT), "shared": "", "git_oid": ""}
        ],
        "fetched_at": "2026-01-01T00:00:00+00:00",
        "version": "0.1.0",
        "hub": None,
        "built": None,
    }
    assert [path.name for path in bench.files("blobs")] == [f"sha256-{digest(CONTENT)}"]


def test_a_blob_is_hashed_again_only_when_stat_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    request = here(bench)
    hashed: list[Path] = []
    real = memo.sha256_of
    monkeypatch.setattr(memo, "sha256_of", lambda path, progress=None: hashed.append(path) or real(path, progress))
    assert bench.cache.find(request) is not None
    assert hashed == []
    (blob,) = bench.files("blobs")
    os.utime(blob, ns=(1, 1))
    assert bench.cache.find(request) is not None
    assert hashed == [blob]
    assert bench.cache.find(request) is not None
    assert hashed == [blob]


def test_a_damaged_blob_is_moved_aside_and_brought_again(bench: Bench) -> None:
    request = here(bench)
    (blob,) = bench.files("blobs")
    blob.write_bytes(b"x" * len(CONTENT))
    assert bench.cache.find(request) is None
    assert [path.name for path in bench.files("bad")] == [blob.name]
    assert bench.fetch(request).sha256 == digest(CONTENT)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": 3}'])
def test_an_unreadable_record_or_pin_counts_as_absent_and_is_kept_aside(bench: Bench, text: str) -> None:
    request = here(bench)
    bench.cache.pin(Pin("i1", "lab", "qwen3", request.key, "{}"))
    for path in (*bench.files("records"), *bench.files("pins")):
        path.write_text(text)
    assert bench.cache.find(request) is None
    assert bench.cache.pins("i1", "lab") == ()
    assert len(bench.files("bad")) == 2
    assert bench.fetch(request).sha256 == digest(CONTENT)


def test_a_deleted_cache_is_just_empty(bench: Bench) -> None:
    request = Request(Source(url="http://127.0.0.1:9/a"))
    assert bench.cache.find(request) is None
    assert bench.cache.partial_bytes(request) == 0
    assert bench.cache.pins("i1", "lab") == ()
    assert not bench.root.exists()


def test_hashing_a_path_tells_progress_and_can_be_abandoned(bench: Bench, tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(CONTENT)
    request = Request(Source(path=str(own)))
    offer = bench.cache.resolve(request)
    own.touch()
    bench.cache.fetch(request, offer, bench.told.append)
    assert bench.told == [Progress("verify", len(CONTENT), len(CONTENT))]


def test_a_folder_is_no_path(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="not a file"):
        bench.cache.resolve(Request(Source(path=str(tmp_path))))


def test_finding_loads_no_http_code(bench: Bench, tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(CONTENT)
    code = (
        "import sys; from pathlib import Path; from nexus_ctl.artifacts.cache import Cache\n"
        "from nexus_ctl.artifacts.source import Means; from nexus_ctl.clock import SystemClock\n"
        "from nexus_ctl.resources.artifact import Request; from nexus_ctl.resources.model import Source\n"
        "cache = Cache(Path(sys.argv[1]), Means(SystemClock(), {}))\n"
        "assert cache.find(Request(Source(path=sys.argv[2]))); assert not cache.find(Request(Source(url='http://x/y')))\n"
        "print([name for name in ('http.client', 'urllib.request', 'huggingface_hub', 'packaging.tags')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bench.root), str(own)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"

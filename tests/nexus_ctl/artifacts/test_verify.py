"""`verify` believes nothing that is remembered: bytes that rotted are found, put aside, and brought again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from nexus_ctl.resources.artifact import Request
from nexus_ctl.resources.lock import Locked, LockedFile
from nexus_ctl.resources.model import Source
from tests.nexus_ctl.artifacts.bench import Bench, digest

CONTENT = b"weights " * 5000


def rot(path: Path) -> None:
    """Turn one bit, as a disk does: size, time and inode stay what they were."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def request_(bench: Bench) -> Request:
    bench.origin.put("/model.gguf", CONTENT)
    return bench.url()


def states(bench: Bench, request: Request) -> list[str]:
    return [one.state for one in bench.cache.verify(request, bench.told.append)]


def test_whole_files_are_ok(bench: Bench, request_: Request) -> None:
    bench.fetch(request_)
    (found,) = bench.cache.verify(request_, bench.told.append)
    assert (found.state, found.size_bytes, found.found) == ("ok", len(CONTENT), f"sha256:{digest(CONTENT)}")
    assert (bench.told[-1].phase, bench.told[-1].done_bytes) == ("verify", len(CONTENT))


def test_a_rotten_file_is_put_aside_and_brought_again(bench: Bench, request_: Request) -> None:
    artifact = bench.fetch(request_)
    rot(Path(artifact.path))
    assert bench.cache.find(request_) is not None, "by its time and size it looks as it was"
    (found,) = bench.cache.verify(request_, bench.told.append)
    assert found.state == "corrupt"
    assert found.found not in ("", found.expected)
    assert Path(found.aside).exists()
    assert bench.cache.find(request_) is None
    assert states(bench, request_) == ["missing"]
    assert bench.fetch(request_).sha256 == digest(CONTENT)
    assert states(bench, request_) == ["ok"]


def test_what_is_here_but_not_what_is_locked_is_missing(bench: Bench, request_: Request) -> None:
    bench.fetch(request_)
    other = Locked({}, {"model.gguf": LockedFile(5, "sha256:" + "1" * 64)})
    assert states(bench, replace(request_, locked=other)) == ["missing"]
    assert states(bench, request_) == ["ok"], "and the bytes that are here stay"


def test_nothing_known_is_nothing_told(bench: Bench, request_: Request) -> None:
    assert states(bench, request_) == []


def test_somebody_elses_file_is_told_of_and_left_alone(tmp_path: Path, bench: Bench) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(CONTENT)
    request = Request(Source(path=str(path)))
    assert bench.cache.find(request) is not None
    assert states(bench, request) == ["ok"]
    rot(path)
    (found,) = bench.cache.verify(request, bench.told.append)
    assert (found.state, found.aside, path.exists()) == ("corrupt", "", True)
    path.unlink()
    assert states(bench, request) == ["missing"]

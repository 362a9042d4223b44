"""The header of a request: a few ranges before the file is here, the disk afterwards, nothing where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.artifacts.headers.window import NotGguf
from nexus_ctl.resources.artifact import Request
from nexus_ctl.resources.model import Source
from tests.fakes.gguf_models import TINY, write
from tests.fakes.http_origin import HttpOrigin
from tests.nexus_ctl.artifacts.bench import Bench


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(TINY["llama-gqa"], tmp_path / "tiny.gguf")


def test_before_the_download_a_small_part_of_the_file_is_read(bench: Bench, origin: HttpOrigin, model: Path) -> None:
    content = model.read_bytes()
    origin.put("/model.gguf", content)
    found = bench.cache.header(bench.url())
    assert found == read_file(model).header
    assert 0 < origin.sent < len(content) / 4
    assert bench.files("blobs") == []


def test_afterwards_nobody_is_asked(bench: Bench, origin: HttpOrigin, model: Path) -> None:
    origin.put("/model.gguf", model.read_bytes())
    bench.fetch(bench.url())
    before = origin.sent
    assert bench.cache.header(bench.url()) == read_file(model).header
    assert origin.sent == before


def test_where_there_is_no_header_there_is_none(bench: Bench, origin: HttpOrigin, tmp_path: Path) -> None:
    origin.put("/model.gguf", b"GGUF and then nothing that belongs there" * 1000)
    assert bench.cache.header(bench.url()) is None
    assert bench.cache.header(bench.url("/missing.gguf")) is None
    assert bench.cache.header(Request(Source(path=str(tmp_path / "nowhere.gguf")))) is None


def test_what_is_something_else_is_said_to_be(bench: Bench, origin: HttpOrigin, tmp_path: Path) -> None:
    """Before a byte of it is fetched, and of a file of this machine."""
    junk = b"root:x:0:0:root" * 1000
    origin.put("/model.gguf", junk)
    (tmp_path / "here.gguf").write_bytes(junk)
    for request in (bench.url(), Request(Source(path=str(tmp_path / "here.gguf")))):
        with pytest.raises(NotGguf, match="begins with 'root'"):
            bench.cache.header(request)
    assert bench.files("blobs") == []

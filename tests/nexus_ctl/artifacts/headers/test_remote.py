"""Headers over HTTP: a few requests and no weights, whatever the server does."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.artifacts.headers.remote import read_urls
from nexus_ctl.artifacts.headers.window import BadHeader
from nexus_ctl.artifacts.source import Means, Patience
from nexus_ctl.clock import SystemClock
from nexus_ctl.errors import Terminal
from tests.fakes.gguf_models import TINY, write
from tests.fakes.http_origin import HttpOrigin

MEANS = Means(SystemClock(), {}, Patience())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(TINY["llama-mqa"], tmp_path_factory.mktemp("remote") / "model.gguf")


def test_reads_the_header_and_no_weights(origin: HttpOrigin, model: Path) -> None:
    url = origin.put("/model.gguf", model.read_bytes())
    local, remote = read_file(model).header, read_urls([url], MEANS)
    assert remote.header == local
    assert origin.sent <= remote.bytes_read < local.data_offset + (256 << 10) < local.file_bytes
    assert remote.requests <= 4


def test_goes_on_after_a_cut_and_a_busy_server(origin: HttpOrigin, model: Path) -> None:
    url = origin.put("/model.gguf", model.read_bytes(), busy=1)
    assert read_urls([url], MEANS).header == read_file(model).header


def test_a_server_without_ranges_is_refused_in_words(origin: HttpOrigin, model: Path) -> None:
    url = origin.put("/model.gguf", model.read_bytes(), ranges=False)
    with pytest.raises(Terminal, match="sends no ranges"):
        read_urls([url], MEANS)


def test_what_is_no_model_is_refused_after_one_window(origin: HttpOrigin) -> None:
    url = origin.put("/model.gguf", b"<html>" + bytes(1 << 20))
    with pytest.raises(BadHeader, match="begins with"):
        read_urls([url], MEANS)
    assert origin.sent < 128 << 10


@pytest.mark.parametrize(("faults", "words"), [({"status": 404}, "404"), ({"bearer": "secret"}, "401")])
def test_refusals_of_the_server_pass(origin: HttpOrigin, model: Path, faults: dict[str, object], words: str) -> None:
    url = origin.put("/model.gguf", model.read_bytes(), **faults)
    with pytest.raises(Terminal, match=words):
        read_urls([url], MEANS)

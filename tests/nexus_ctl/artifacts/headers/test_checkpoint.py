"""Configuration and tensor table of a repository: from disk and over the network the same, and no weights are read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.headers.checkpoint import local_checkpoint, read_checkpoint
from nexus_ctl.artifacts.headers.folder import local
from nexus_ctl.artifacts.headers.window import BadHeader
from nexus_ctl.artifacts.source import Means, Patience
from nexus_ctl.resources.artifact import Conversion, Request
from nexus_ctl.resources.model import HuggingFaceSource, Source
from tests.fakes.checkpoints import Checkpoint as Tiny
from tests.fakes.clock import FakeClock
from tests.fakes.hub import FakeHub
from tests.fakes.hub_model import safetensors

TINY = Tiny("LlamaForCausalLM", "llama")
WEIGHTS = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def written(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path, hub: FakeHub) -> Cache:
    environ = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HF_HOME": str(tmp_path / "hf")}
    return Cache(tmp_path / "cache", Means(FakeClock(), environ, Patience(failures=2, stall_seconds=20)))


def of(repo: str) -> Request:
    return Request(Source(hugging_face=HuggingFaceSource(repo=repo)))


def test_a_folder_tells_its_model(tmp_path: Path) -> None:
    found = local_checkpoint(written(tmp_path / "m", TINY.files()))
    assert found.config["num_hidden_layers"] == 4
    assert found.weights.weights_bytes == sum(one.nbytes for one in TINY.tensors().values())


def test_over_the_network_it_is_the_same_and_is_remembered(cache: Cache, hub: FakeHub, tmp_path: Path) -> None:
    large = TINY.files() | {WEIGHTS[0]: safetensors(dict.fromkeys(["model.large"], _zeros(1 << 20)))}
    hub.commit("org/m", large)
    here = local_checkpoint(written(tmp_path / "m", large))
    there = cache.checkpoint(of("org/m"))
    assert there is not None
    assert (there.config, there.weights.tensors) == (here.config, here.weights.tensors)
    assert hub.sent_by_storage < 256 << 10 < len(large[WEIGHTS[0]])
    assert there.requests == 3, "the configuration and two tables"
    before = hub.sent_by_storage
    again = cache.checkpoint(of("org/m"))
    assert again is not None
    assert (again.weights.tensors, again.requests) == (here.weights.tensors, 1)
    assert hub.sent_by_storage == before


def test_of_what_is_here_nothing_is_asked(cache: Cache, hub: FakeHub) -> None:
    hub.commit("org/m", TINY.files())
    request = of("org/m")
    there = cache.checkpoint(request)
    cache.fetch(request, cache.resolve(request), lambda _: None)
    asked = len(hub.log)
    here = cache.checkpoint(request)
    assert there is not None
    assert here is not None
    assert here.weights.tensors == there.weights.tensors
    assert len(hub.log) == asked


def test_there_is_none_of_what_is_no_such_repository(cache: Cache, hub: FakeHub, tmp_path: Path) -> None:
    hub.commit("org/gguf", {"model.gguf": b"GGUF" + bytes(100)})
    hub.commit("org/broken", TINY.files() | {WEIGHTS[0]: b"root:x:0:0"})
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    assert cache.checkpoint(of("org/gguf")) is None
    assert cache.checkpoint(of("org/broken")) is None
    assert cache.checkpoint(of("org/nobody")) is None
    assert cache.checkpoint(Request(Source(path=str(model)))) is None
    assert cache.checkpoint(Request(Source(url=f"{hub.url}/model.gguf"))) is None
    assert cache.checkpoint(replace(of("org/gguf"), steps=(Conversion("f16"),))) is None


def test_the_files_that_the_engine_loads(tmp_path: Path) -> None:
    one = {"model.a": _zeros(4)}
    files = {"config.json": b"{}", "model.safetensors": safetensors(one), "consolidated.safetensors": safetensors(one)}
    files["config.json"] = json.dumps(TINY.full).encode()
    assert len(local_checkpoint(written(tmp_path / "copy", files)).weights.tensors) == 1
    index = json.dumps({"weight_map": {"model.a": "model.safetensors"}}).encode()
    other = {"other.safetensors": safetensors({"model.b": _zeros(4)})}
    assert len(local_checkpoint(written(tmp_path / "both", files | other)).weights.tensors) == 2
    indexed = files | other | {"model.safetensors.index.json": index}
    assert len(local_checkpoint(written(tmp_path / "index", indexed)).weights.tensors) == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": b"[]"}, "not a JSON object"),
        ({"config.json": b"{"}, "Expecting"),
        ({"config.json": b"[" * 200_000}, "recursion"),
        ({"model.safetensors": b""}, "no config.json"),
        ({"config.json": b'{"a": 1}'}, "no safetensors file"),
        ({"config.json": b'{"a": 1}', "model.safetensors": b"x"}, "ends inside"),
        ({"config.json": b'{"a": 1}', "model.safetensors.index.json": b'{"weight_map": {"a": "../b"}}'}, "not there"),
    ],
)
def test_what_is_wrong_is_said(files: Mapping[str, bytes], words: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "m", files)
    with pytest.raises(BadHeader, match=words):
        read_checkpoint(local({path.name: path for path in folder.iterdir()}))


def _zeros(count: int) -> NDArray[np.float32]:
    return np.zeros(count, dtype=np.float32)

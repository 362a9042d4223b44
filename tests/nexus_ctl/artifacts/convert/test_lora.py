"""Adapters: what PEFT writes becomes the adapter that was made by hand, byte by byte; others are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.convert.converted import converted
from nexus_ctl.artifacts.convert.converter import main as convert
from nexus_ctl.artifacts.convert.lora import adapter
from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.artifacts.source import Means
from nexus_ctl.clock import SystemClock
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.artifact import Conversion, Request
from nexus_ctl.resources.model import HuggingFaceSource, Source
from tests.fakes.gguf_models import TINY, varied_adapter, write
from tests.fakes.hub import FakeHub
from tests.fakes.hub_model import adapter_files_of
from tests.nexus_ctl.artifacts.convert.test_converted import in_memory, tensor_bytes

LLAMA = TINY["llama-gqa"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(LLAMA, tmp_path / "model.gguf")


@pytest.fixture
def by_hand(tmp_path: Path) -> Path:
    return varied_adapter(LLAMA, tmp_path / "by-hand.gguf")


@pytest.fixture
def files(by_hand: Path) -> dict[str, bytes]:
    return adapter_files_of(by_hand, 8, 2)


def test_it_is_built_as_planned_and_has_the_bytes_of_one_made_by_hand(
    model: Path, by_hand: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    base = Request(Source(path=str(model)))
    request = Request(Source(hugging_face=HuggingFaceSource(repo="acme/tone")), None, (Conversion("f32", base),))
    with FakeHub() as hub:
        hub.commit("acme/tone", files)
        cache = Cache(tmp_path / "cache", Means(SystemClock(), {"HF_ENDPOINT": hub.url}))
        ahead, header = cache.forecast(request), cache.header(request)
        cache.fetch(request.base, cache.resolve(request.base), lambda _: None)
    assert cache.forecast(request) == ahead
    inputs = [cache.find(one) for one in request.inputs]
    identity = request.identity_from(one.identity for one in inputs if one is not None)
    made = cache.build(request, identity, lambda _: None)
    assert ahead.size_bytes == made.size_bytes == Path(made.path).stat().st_size
    assert header == read_file(Path(made.path)).header
    assert tensor_bytes(Path(made.path)) == tensor_bytes(by_hand)
    told = read_file(by_hand).header.metadata
    assert {key: header.metadata[key] for key in told if header is not None} == told
    assert cache.find(request) == made
    write(replace(LLAMA, vocabulary=LLAMA.vocabulary + 1), model)
    assert cache.find(request) is None, "another model asks for another adapter"


@pytest.mark.parametrize("name", ["qwen2", "qwen3"])
def test_the_rows_of_other_families_stay_where_they_are(tmp_path: Path, name: str) -> None:
    wanted = varied_adapter(TINY[name], tmp_path / "by-hand.gguf")
    model = write(TINY[name], tmp_path / "model.gguf")
    for file, content in adapter_files_of(wanted).items():
        (tmp_path / file).write_bytes(content)
    named = [f"{file}={tmp_path / file}" for file in ("adapter_config.json", "adapter_model.safetensors")]
    convert("f32", str(tmp_path / "made.gguf"), *named, f"={model}")
    assert tensor_bytes(tmp_path / "made.gguf") == tensor_bytes(wanted)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"peft_type": "IA3"}, "kind IA3"),
        ({"use_dora": True}, "use_dora"),
        ({"use_rslora": True, "use_dora": True}, "trained with use_dora,"),
        ({"bias": "lora_only"}, "trained with bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 8}}, "alpha_pattern"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: pissa"),
        ({"r": 8}, "it must be"),
        ({"r": "4"}, "r is not a whole number"),
        ({"lora_alpha": None}, "NoneType"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    model: Path, files: dict[str, bytes], changes: dict[str, Any], told: str
) -> None:
    config = json.loads(files["adapter_config.json"]) | changes
    with pytest.raises(Terminal, match=told) as caught:
        _made(files | {"adapter_config.json": json.dumps(config).encode()}, model)
    assert caught.value.code == "conversion-impossible"
    assert "convert_lora_to_gguf" in caught.value.hint


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (b"layers.0.self_attn.q_proj.lora_A", b"layers.9.self_attn.q_proj.lora_A", "blk.9.attn_q.weight, which the"),
        (b"layers.0.self_attn.q_proj.lora_A", b"layers.0.self_attn.o_gate.lora_A", "has no place"),
        (b"lora_A.weight", b"lora_C.weight", "no half of a pair"),
    ],
)
def test_tensors_without_a_place_are_named(
    model: Path, files: dict[str, bytes], before: bytes, after: bytes, told: str
) -> None:
    content = files["adapter_model.safetensors"].replace(before, after, 1)
    with pytest.raises(Terminal, match=told):
        _made(files | {"adapter_model.safetensors": content}, model)


@pytest.mark.parametrize("shape", ["gemma2", "qwen2"])
def test_an_adapter_of_another_model_is_refused(files: dict[str, bytes], tmp_path: Path, shape: str) -> None:
    with pytest.raises(Terminal, match=r"is gemma2, not one of|for this model it must be"):
        _made(files, write(TINY[shape], tmp_path / "other.gguf"))


@pytest.mark.parametrize("lacking", ["adapter_config.json", "adapter_model.safetensors"])
def test_both_files_are_needed(model: Path, files: dict[str, bytes], lacking: str) -> None:
    with pytest.raises(Terminal, match="must be among the files"):
        _made({name: content for name, content in files.items() if name != lacking}, model)


def test_an_adapter_whose_model_is_not_named_is_told_apart(files: dict[str, bytes]) -> None:
    with pytest.raises(Terminal, match=r"name the Model that it changes as convert\.base"):
        converted(in_memory(files), "bf16")


def _made(files: Mapping[str, bytes], model: Path) -> None:
    adapter(in_memory(files), read_file(model).header, "f32")

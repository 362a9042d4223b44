"""Every class that is converted, answered by the real engine: the next token's distribution is transformers' own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.convert.architectures import FAMILIES
from nexus_ctl.artifacts.convert.converted import converted
from nexus_ctl.artifacts.convert.multimodal import WRAPPERS
from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.artifacts.source import Means
from nexus_ctl.clock import SystemClock
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.artifact import Conversion, Request
from nexus_ctl.resources.model import HuggingFaceSource, Source
from tests.fakes.checkpoints import CHECKPOINTS, PROMPTS
from tests.fakes.converted import gguf_of
from tests.fakes.engine_answers import Answers, Question, ask
from tests.fakes.hub import FakeHub
from tests.fakes.hub_model import safetensors
from tests.fakes.sentencepiece_model import trained
from tests.fixtures.expected_logits import FOLDER
from tests.nexus_ctl.artifacts.convert.test_converted import in_memory

NEAR = 0.03
"""The largest difference of a log-probability; a wrong order of rows or a lowered norm makes it larger than 1. What is
left is ggml's table of 16 bits for one activation; without it, all are nearer than 0.001."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Answers]:
    """Of all of them; the engine is started once."""
    root = tmp_path_factory.mktemp("made")
    asked = [
        Question(gguf_of(one.files(), root / name), [PROMPTS[at] for at in one.prompts], context=128)
        for name, one in CHECKPOINTS.items()
    ]
    return dict(zip(CHECKPOINTS, ask(asked), strict=True))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_engine_computes_what_transformers_does(answers: Mapping[str, Answers], name: str) -> None:
    wanted, found = expected(name), answers[name]
    assert np.abs(np.array(found.logprobs) - wanted["logprobs"]).max() < NEAR
    assert found.greedy == wanted["greedy"]


def expected(name: str) -> dict[str, Any]:
    """What transformers computes."""
    told: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return told


def test_no_class_is_converted_unseen() -> None:
    assert {one.model for one in CHECKPOINTS.values()} == set(FAMILIES) | set(WRAPPERS)
    assert {path.stem for path in FOLDER.glob("*.json")} == set(CHECKPOINTS)


@pytest.mark.parametrize("name", ["mixtral", "gemma3", "phi3-long", "llama-llama3"])
def test_it_is_built_as_planned_over_the_network(name: str, tmp_path: Path) -> None:
    model = trained(add_dummy_prefix=not name.startswith("gemma"))
    checkpoint = replace(CHECKPOINTS[name], config={**CHECKPOINTS[name].config, "vocab_size": 424})
    files = {file: content for file, content in checkpoint.files().items() if file != "tokenizer.json"}
    request = Request(Source(hugging_face=HuggingFaceSource(repo="acme/tiny")), None, (Conversion("bf16"),))
    with FakeHub() as hub:
        hub.commit("acme/tiny", {**files, "tokenizer.model": model})
        cache = Cache(tmp_path / "cache", Means(SystemClock(), {"HF_ENDPOINT": hub.url}))
        ahead, header = cache.forecast(request), cache.header(request)
        assert not list((tmp_path / "cache").glob("blobs/*")), "nothing was fetched to plan it"
        cache.fetch(request.base, cache.resolve(request.base), lambda _: None)
    base = cache.find(request.base)
    assert base is not None
    made = cache.build(request, request.identity_from([base.identity]), lambda _: None)
    assert ahead.size_bytes == made.size_bytes == Path(made.path).stat().st_size
    assert header == read_file(Path(made.path)).header


@pytest.mark.parametrize(
    ("name", "lacking", "told"),
    [
        ("llama", "model.layers.3.", "is in 3 layers, not in layer 3; the model has 4"),
        ("llama", "layers.1.self_attn.v_proj", r"attn_v\.weight is in 3 layers, not in layer 1; the model has 4"),
        ("llama", "lm_head", r"lack output\.weight"),
        ("qwen3moe", "experts.7.", "is made of 7 experts, the model has 8"),
        ("qwen2moe", "experts.2.up_proj", "is made of 7 experts, the model has 8"),
    ],
)
def test_files_that_lack_a_part_are_refused(name: str, lacking: str, told: str) -> None:
    checkpoint = CHECKPOINTS[name]
    there = {name: numbers for name, numbers in checkpoint.tensors().items() if lacking not in name}
    texts = {file: content for file, content in checkpoint.files().items() if not file.endswith(".safetensors")}
    with pytest.raises(Terminal, match=told):
        converted(in_memory(texts | {"model.safetensors": safetensors(there)}), "f16")


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window is True"),
        ("qwen3moe", {"norm_topk_prob": False}, "norm_topk_prob is False"),
        ("qwen2moe", {"mlp_only_layers": [1]}, r"mlp_only_layers is \[1\]"),
        ("gemma2", {"query_pre_attn_scalar": 30}, "query_pre_attn_scalar is 30"),
        ("gemma3", {"layer_types": ["full_attention"] * 7}, "layer_types has another order"),
        ("smollm3", {"no_rope_layers": [1, 1, 1, 1]}, "no_rope_layers is not every fourth"),
        ("qwen2", {"rope_scaling": {"rope_type": "llama3"}}, r"rope_scaling\.rope_type is 'llama3'"),
        (
            "llama-yarn",
            {"rope_parameters": {"rope_type": "yarn", "factor": 2, "truncate": False}},
            "truncate of the rule",
        ),
        (
            "olmo3",
            {"rope_parameters": {"full_attention": {"rope_theta": 5.0}, "sliding_attention": {"rope_theta": 6.0}}},
            "rope_theta of layers with a window is another",
        ),
        (
            "gemma3",
            {"rope_parameters": {"full_attention": {}, "sliding_attention": {"rope_type": "linear", "factor": 2}}},
            "positions of layers with a window are scaled",
        ),
        ("phi3-long", {"partial_rotary_factor": 0.5}, "short_factor must have 4 numbers"),
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused_by_its_key(name: str, changes: dict[str, Any], told: str) -> None:
    checkpoint = replace(CHECKPOINTS[name], config={**CHECKPOINTS[name].config, **changes})
    files = CHECKPOINTS[name].files() | {"config.json": json.dumps(checkpoint.full).encode()}
    with pytest.raises(Terminal, match=rf"config\.json: .*{told}"):
        converted(in_memory(files), "f16")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 1 << 50},
        {"num_hidden_layers": "4"},
        {"head_dim": 1 << 50},
        {"intermediate_size": 1 << 50},
        {"intermediate_size": -1},
        {"rms_norm_eps": None},
        {"rms_norm_eps": 10**400},
        {"num_attention_heads": 0, "head_dim": None},
        {"rope_scaling": {"rope_type": "yarn", "factor": -1.0, "attention_factor": 1.0}},
        {"rope_scaling": [1]},
        {"architectures": {"a": 1}},
        {"num_local_experts": 1 << 50},
    ],
)
def test_numbers_of_anybody_are_refused_and_cost_nothing(changes: dict[str, Any]) -> None:
    name = "mixtral" if "num_local_experts" in changes else "llama"
    checkpoint = replace(CHECKPOINTS[name], config={**CHECKPOINTS[name].config, **changes})
    files = CHECKPOINTS[name].files() | {"config.json": json.dumps(checkpoint.full).encode()}
    with pytest.raises(Terminal) as caught:
        converted(in_memory(files), "f16")
    assert caught.value.code == "conversion-impossible"


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"model": ' * 100_000, b"\xff\xfe", b'{"model": {"type": "BPE"}}']
)
def test_a_tokenizer_of_anybody_is_refused(content: bytes) -> None:
    with pytest.raises(Terminal) as caught:
        converted(in_memory(CHECKPOINTS["llama"].files() | {"tokenizer.json": content}), "f16")
    assert caught.value.code == "conversion-impossible"

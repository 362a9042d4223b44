"""Models that see: their text is converted and the rest is left out and told; what cannot come out right is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.convert.converted import converted
from nexus_ctl.artifacts.convert.lora import adapter
from nexus_ctl.artifacts.convert.multimodal import WRAPPERS
from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.artifacts.source import Means
from nexus_ctl.clock import SystemClock
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.artifact import Conversion, Request
from nexus_ctl.resources.model import HuggingFaceSource, Source
from tests.fakes.checkpoints import CHECKPOINTS
from tests.fakes.converted import gguf_of
from tests.fakes.hub import FakeHub
from tests.fakes.hub_model import safetensors
from tests.nexus_ctl.artifacts.convert.test_converted import in_memory
from tests.nexus_ctl.artifacts.convert.test_lora_answers import adapter_files

SEEING = [name for name, one in CHECKPOINTS.items() if one.wrapping is not None]


def changed(name: str, inner: Mapping[str, Any] | None = None, **outer: Any) -> dict[str, bytes]:
    """The files of a checkpoint with other values in its configuration, nested or not."""
    config = CHECKPOINTS[name].full | outer
    if inner is not None:
        config["text_config"] = config["text_config"] | inner
    return CHECKPOINTS[name].files() | {"config.json": json.dumps(config).encode()}


@pytest.mark.parametrize("name", SEEING)
def test_what_sees_is_left_out_and_told_in_bytes(name: str) -> None:
    checkpoint = CHECKPOINTS[name]
    assert checkpoint.wrapping is not None
    made = converted(in_memory(checkpoint.files()), "f32")
    numbers = sum(size for tensor in checkpoint.wrapping.seeing for size in [checkpoint.tensors()[tensor].nbytes])
    [note] = made.notes
    told = f"{numbers} B" if numbers < 1024 else f"{numbers / 1024:.1f} KiB"
    assert note.startswith(f"text only: {told} of vision tensors ({len(checkpoint.wrapping.seeing)}) left out")
    assert "projector" in note
    assert not [one.name for one in made.header.tensors if "vision" in one.name or "visual" in one.name]
    assert made.header.metadata["tokenizer.ggml.eos_token_id"] == 2, "also where the whole says it, not its text"


def test_a_model_of_text_alone_has_no_such_note() -> None:
    assert converted(in_memory(CHECKPOINTS["gemma3"].files()), "f32").notes == ()


def test_the_plan_knows_its_exact_size_and_says_what_is_left_out(tmp_path: Path) -> None:
    request = Request(Source(hugging_face=HuggingFaceSource(repo="acme/sees")), None, (Conversion("bf16"),))
    with FakeHub() as hub:
        hub.commit("acme/sees", CHECKPOINTS["qwen25vl"].files())
        cache = Cache(tmp_path / "cache", Means(SystemClock(), {"HF_ENDPOINT": hub.url}))
        ahead, header = cache.forecast(request), cache.header(request)
        cache.fetch(request.base, cache.resolve(request.base), lambda _: None)
    base = cache.find(request.base)
    assert base is not None
    made = cache.build(request, request.identity_from([base.identity]), lambda _: None)
    assert ahead.size_bytes == made.size_bytes == Path(made.path).stat().st_size
    assert header == read_file(Path(made.path)).header
    assert [note.split(";")[0] for note in ahead.notes] == ["text only: 64 B of vision tensors (1) left out"]


def test_what_a_nested_configuration_leaves_out_is_as_its_class_has_it() -> None:
    told = converted(in_memory(CHECKPOINTS["llava"].files()), "f32").header
    assert (told.field("context_length"), told.field("attention.head_count_kv")) == (2048, 4)
    assert converted(in_memory(CHECKPOINTS["gemma3-sees"].files()), "f32").header.field("context_length") == 131_072
    larger = {"num_key_value_heads": 2, "max_position_embeddings": 77}
    told = converted(in_memory(changed("mistral3", larger)), "f32").header
    assert (told.field("context_length"), told.field("attention.head_count_kv")) == (77, 2)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            changed("mistral3", {"model_type": "ministral3"}),
            r"config\.json: text_config\.model_type is 'ministral3'; .* of Mistral3.* is converted where it is mistral",
        ),
        (changed("llava", {"model_type": "phi"}), "'phi'; the text of Llava.* where it is llama or mistral"),
        (changed("qwen2vl", model_type="qwen3_vl"), r"config\.json: model_type is 'qwen3_vl'"),
        (changed("gemma3-sees", quantization_config={"bits": 4}), "quantized already"),
        (changed("gemma3-sees", {"layer_types": ["full_attention"] * 7}), "layer_types has another order"),
        (changed("qwen2vl", rope_scaling={"type": "mrope", "mrope_section": [2, 3]}), "not three whole numbers"),
        (
            changed("qwen2vl", rope_scaling={"type": "mrope", "mrope_section": [2, 3, 4]}),
            "counts 9 pairs, a head has 16",
        ),
        (changed("qwen3vl", vision_config={}), r"config\.json: deepstack_visual_indexes is missing"),
        (changed("qwen2vl", rope_scaling=None), "mrope_section is None"),
        (
            changed("qwen2", rope_scaling={"type": "mrope", "mrope_section": [2, 3, 3]}),
            "mrope_section, which llama.cpp",
        ),
        (changed("llava", architectures=["LlamaForCausalLM"], text_config=None), "is missing|has no place"),
        (changed("llava", text_config=[1]), "list"),
        (changed("llava", {"model_type": ["llama"]}), "unhashable"),
    ],
)
def test_what_would_not_come_out_right_is_refused(files: dict[str, bytes], told: str) -> None:
    with pytest.raises(Terminal, match=told) as caught:
        converted(in_memory(files), "f32")
    assert caught.value.code == "conversion-impossible"


def test_a_model_of_text_alone_with_tensors_that_see_is_refused() -> None:
    files = CHECKPOINTS["llama"].files()
    more = safetensors({**CHECKPOINTS["llama"].tensors(), **_seeing("qwen2vl")})
    weights = {name: content for name, content in files.items() if not name.endswith(".safetensors")}
    with pytest.raises(Terminal, match=r"visual\.merger\.ln_q\.weight has no place"):
        converted(in_memory(weights | {"model.safetensors": more}), "f32")


def _seeing(name: str) -> dict[str, Any]:
    checkpoint = CHECKPOINTS[name]
    assert checkpoint.wrapping is not None
    return {tensor: checkpoint.tensors()[tensor] for tensor in checkpoint.wrapping.seeing}


def test_an_adapter_that_changes_what_sees_is_refused(tmp_path: Path) -> None:
    checkpoint = CHECKPOINTS["qwen2vl"]
    base = read_file(gguf_of(checkpoint.files(), tmp_path / "base")).header
    files = adapter_files(checkpoint, stabilised=False)
    assert adapter(in_memory(files), base, "f32").header.tensors
    weights = files["adapter_model.safetensors"].replace(
        b"model.layers.0.mlp.up_proj", b"visual.blocks.0.mlp.upper.", 1
    )
    assert weights != files["adapter_model.safetensors"]
    with pytest.raises(Terminal, match="changes what sees"):
        adapter(in_memory(files | {"adapter_model.safetensors": weights}), base, "f32")


def test_a_template_in_a_file_of_its_own_is_taken() -> None:
    files = CHECKPOINTS["mistral3"].files() | {"chat_template.json": json.dumps({"chat_template": "{{ x }}"}).encode()}
    told = converted(in_memory(files), "f32").header.metadata
    assert told["tokenizer.chat_template"] == "{{ x }}"
    settings = json.dumps({"chat_template": "{{ y }}"}).encode()
    told = converted(in_memory(files | {"tokenizer_config.json": settings}), "f32").header.metadata
    assert told["tokenizer.chat_template"] == "{{ y }}", "the tokenizer's own goes first"


def test_no_class_is_converted_unseen() -> None:
    asked = {(one.model, one.wrapping.text or one.full["model_type"]) for one in CHECKPOINTS.values() if one.wrapping}
    assert asked <= {(name, kind) for name, kinds in WRAPPERS.items() for kind in kinds}
    assert {name for name, _ in asked} == set(WRAPPERS)

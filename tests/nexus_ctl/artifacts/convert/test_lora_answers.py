"""Adapters of PEFT in the real engine: a model with one answers as the model into which it was merged."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping

import numpy as np
import pytest

from tests.fakes.checkpoints import CHECKPOINTS, PROMPTS, Checkpoint, Numbers
from tests.fakes.converted import gguf_of
from tests.fakes.engine_answers import Answers, Question, ask
from tests.fakes.hub_model import safetensors

RANK, ALPHA = 4, 6.0
NEAR = 0.01
CHANGED = ("llama", "llama-tied-biased", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "smollm3")
CHANGED += ("granite", "olmo2", "stablelm", "starcoder2", "mixtral", "qwen2moe", "qwen3moe", "granitemoe")
CHANGED += ("olmo3", "cohere", "cohere2", "seed-oss", "ernie", "gemma3-sees", "llava", "qwen2vl", "qwen25vl", "qwen3vl")
STABILISED = ("llama", "gemma3")
"""Of these also an adapter whose alpha is divided by the root of the rank."""
CASES = tuple((name, False) for name in CHANGED) + tuple((name, True) for name in STABILISED)


def matrices(checkpoint: Checkpoint) -> dict[str, Numbers]:
    """What the adapter changes: every matrix of a layer, save those of experts and what chooses among them."""
    not_changed = ("vision", "norm", "experts", "mlp.gate.", "block_sparse_moe", "shared_expert_gate")
    return {
        name: numbers
        for name, numbers in checkpoint.tensors().items()
        if ".layers." in name and numbers.ndim == 2 and not any(part in name for part in not_changed)
    }


def pair(name: str, shape: tuple[int, ...]) -> tuple[Numbers, Numbers]:
    """A and B for a matrix of this shape, told by its name."""
    random = np.random.RandomState(zlib.crc32(f"{name}.lora".encode()))
    below, above = random.standard_normal((RANK, shape[1])), random.standard_normal((shape[0], RANK))
    return (below / np.sqrt(shape[1])).astype(np.float32), (above / 2).astype(np.float32)


def adapter_files(checkpoint: Checkpoint, *, stabilised: bool) -> dict[str, bytes]:
    """As PEFT writes it."""
    tensors: dict[str, Numbers] = {}
    for name, numbers in matrices(checkpoint).items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{stem}.lora_A.weight"], tensors[f"{stem}.lora_B.weight"] = pair(name, numbers.shape)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", "init_lora_weights": True}
    config["use_rslora"] = stabilised
    return {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": safetensors(tensors)}


def merged_files(checkpoint: Checkpoint, *, stabilised: bool) -> dict[str, bytes]:
    """The model with the adapter added to its matrices."""
    factor = ALPHA / (math.sqrt(RANK) if stabilised else RANK)
    tensors = checkpoint.tensors()
    for name, numbers in matrices(checkpoint).items():
        below, above = pair(name, numbers.shape)
        tensors[name] = numbers + np.float32(factor) * (above @ below)
    files = checkpoint.files()
    texts = {name: content for name, content in files.items() if not name.endswith(".safetensors")}
    return texts | {"model.safetensors": safetensors(tensors)}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, bool], tuple[Answers, Answers, Answers]]:
    """Of the model alone, with its adapter, and merged; the engine is started once."""
    root = tmp_path_factory.mktemp("made")
    asked = []
    for name, stabilised in CASES:
        checkpoint, folder = CHECKPOINTS[name], root / f"{name}-{stabilised}"
        base = gguf_of(checkpoint.files(), folder / "base")
        adapter = gguf_of(adapter_files(checkpoint, stabilised=stabilised), folder / "adapter", base=base)
        merged = gguf_of(merged_files(checkpoint, stabilised=stabilised), folder / "merged")
        asked += [Question(base, PROMPTS), Question(base, PROMPTS, adapter=adapter), Question(merged, PROMPTS)]
    found = ask(asked)
    return {case: (found[3 * at], found[3 * at + 1], found[3 * at + 2]) for at, case in enumerate(CASES)}


@pytest.mark.parametrize("case", CASES)
def test_a_model_with_an_adapter_answers_as_the_merged_one(
    answers: Mapping[tuple[str, bool], tuple[Answers, Answers, Answers]], case: tuple[str, bool]
) -> None:
    alone, adapted, merged = (np.array(one.logprobs) for one in answers[case])
    assert np.abs(adapted - merged).max() < NEAR
    assert np.abs(adapted - alone).max() > 0.5, "the adapter changes what is said"

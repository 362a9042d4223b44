"""What a Deployment declares reaches the estimate: every field and raw argument that decides memory."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_ctl.placement.llama_cpp.declared import draft_settings, settings_of
from nexus_ctl.resources.llama_cpp import LlamaCpp
from nexus_ctl.resources.memory import EngineSettings


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({}, EngineSettings(parallel=1)),
        ({"contextSize": 8192, "parallel": 4}, EngineSettings(context_size=8192, parallel=4)),
        (
            {"memory": {"cacheTypeK": "q8_0", "cacheTypeV": "q4_0", "flashAttention": "on", "kvUnified": True}},
            EngineSettings(parallel=1, cache_type_k="q8_0", cache_type_v="q4_0", flash_attention="on", kv_unified=True),
        ),
        (
            {"batching": {"batchSize": 512, "ubatchSize": 128}},
            EngineSettings(parallel=1, batch_size=512, ubatch_size=128),
        ),
        ({"gpu": {"layers": "all"}}, EngineSettings(parallel=1)),
        (
            {"gpu": {"layers": 7, "splitMode": "layer", "tensorSplit": [1, 3]}},
            EngineSettings(parallel=1, gpu_layers=7, tensor_split=(1.0, 3.0)),
        ),
        ({"embeddings": {"enabled": True}}, EngineSettings(parallel=1, embeddings=True)),
        ({"reranking": {"enabled": True}}, EngineSettings(parallel=1, embeddings=True)),
        (
            {"memory": {"swaFull": True}, "args": {"n-cpu-moe": 3}},
            EngineSettings(parallel=1, swa_full=True, cpu_experts=3),
        ),
        ({"memory": {"kvOffload": False}}, EngineSettings(parallel=1, kv_offload=False)),
        ({"draft": {"model": "d"}}, EngineSettings(parallel=1, draft_tokens=3)),
        ({"draft": {"model": "d", "nMax": 8}}, EngineSettings(parallel=1, draft_tokens=8)),
        ({"args": {"cpu-moe": True}}, EngineSettings(parallel=1, cpu_experts=1 << 16)),
    ],
)
def test_a_declared_engine_has_its_settings(declared: dict[str, Any], expected: EngineSettings) -> None:
    assert settings_of(LlamaCpp.model_validate(declared)) == expected


def test_a_draft_model_takes_the_context_of_its_target_and_a_cache_of_its_own() -> None:
    engine = LlamaCpp.model_validate(
        {
            "contextSize": 4096,
            "parallel": 2,
            "memory": {"cacheTypeK": "q8_0", "flashAttention": "on"},
            "gpu": {"layers": 9, "tensorSplit": [1, 1]},
            "draft": {"model": "d", "cacheTypeV": "q4_0", "gpuLayers": 2},
        }
    )
    assert engine.draft is not None
    assert draft_settings(engine.draft, settings_of(engine)) == EngineSettings(
        context_size=4096, parallel=2, cache_type_v="q4_0", flash_attention="on", gpu_layers=2
    )

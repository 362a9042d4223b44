"""vLLM: the launch specification of a Deployment as a literal, and every fault beside the spec that is free of it."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_ctl.engines import table
from nexus_ctl.engines.vllm import ENV
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import GpuRequest, LaunchSpec, Limits, Mount, Sandbox

GIB = 1 << 30


def a_spec(engine: dict[str, Any] | None = None, gpus: object = 1, **spec: Any) -> DeploymentSpec:
    """A Deployment of the model `qwen` on vLLM with these parameters and that many GPUs."""
    resources = {"resources": {"gpus": {"count": gpus}}} if gpus else {}
    return DeploymentSpec.model_validate({"model": "qwen", "engine": {"vllm": engine or {}}} | resources | spec)


def faults(spec: DeploymentSpec) -> list[tuple[str, str, str]]:
    return [(fault.path, fault.code, fault.severity) for fault in table.check(spec)]


def test_launch_of_a_minimal_deployment() -> None:
    assert table.launch(a_spec()) == LaunchSpec(
        argv=(
            *("vllm", "serve", "/models/qwen", "--served-model-name", "qwen"),
            *("--host", "{host}", "--port", "{port}", "--allowed-origins", "[]"),
        ),
        env=ENV,
        mounts=(Mount(target="/models/qwen", model="qwen"),),
        image="vllm/vllm-openai:latest",
        port=8000,
        gpus=GpuRequest(count=1),
        sandbox=Sandbox(shm_bytes=8 * GIB),
    )


def test_launch_of_everything_declared() -> None:
    engine = {
        "image": "registry.local/vllm@sha256:" + "0" * 64,
        "model": {"maxLength": 8192, "dtype": "bfloat16", "quantization": "awq", "trustRemoteCode": True},
        "cache": {"memoryUtilization": 0.8, "dtype": "fp8", "prefixCaching": False},
        "parallel": {"tensor": 2, "pipeline": 1},
        "scheduler": {"maxSequences": 64, "maxBatchedTokens": 4096, "enforceEager": True},
        "server": {"chatTemplate": "x", "toolParser": "hermes", "reasoningParser": "qwen3"},
        "args": {"seed": 7, "disable-log-requests": True},
    }
    spec = a_spec(
        engine,
        resources={"cpu": 4, "memory": "32Gi", "gpus": {"ids": ["1", "0"]}},
        env={"HOME": {"value": "/home"}, "HF_TOKEN": {"valueFrom": {"env": "HF_TOKEN"}}},
        container={"user": "1000:1000", "shmSize": "2Gi", "pids": 100, "ulimits": {"memlock": -1}, "writable": ["/s"]},
    )
    launch = table.launch(spec)
    assert launch.image == engine["image"]
    assert launch.argv[9:] == (
        *("--max-model-len", "8192", "--dtype", "bfloat16", "--quantization", "awq", "--trust-remote-code"),
        *("--gpu-memory-utilization", "0.8", "--kv-cache-dtype", "fp8", "--no-enable-prefix-caching"),
        *("--tensor-parallel-size", "2", "--pipeline-parallel-size", "1"),
        *("--max-num-seqs", "64", "--max-num-batched-tokens", "4096", "--enforce-eager"),
        *("--chat-template", "x", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3"),
        *("--enable-auto-tool-choice", "--allowed-origins", "[]", "--disable-log-requests", "--seed", "7"),
    )
    assert launch.env == {**ENV, "HOME": "/home"}
    assert list(launch.secret_env) == ["HF_TOKEN"]
    assert launch.gpus == GpuRequest(ids=("1", "0"))
    assert launch.limits == Limits(4, 32 * GIB)
    assert launch.sandbox == Sandbox("1000:1000", True, ("/s",), 2 * GIB, 100, {"memlock": -1})
    assert table.check(spec) == ()


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (a_spec(), []),
        (a_spec(gpus=None), [("spec.resources.gpus", "no-gpu", "warning")]),
        (a_spec({"parallel": {"tensor": 4}}), [("spec.engine.vllm.parallel", "gpus-do-not-match", "error")]),
        (a_spec(gpus=4), [("spec.engine.vllm.parallel", "gpus-do-not-match", "warning")]),
        (a_spec({"parallel": {"tensor": 2, "pipeline": 2}}, gpus=4), []),
        (a_spec({"parallel": {"tensor": 8}}, gpus="all"), []),
        (a_spec({"args": {"port": 1}}), [("spec.engine.vllm.args.port", "flag-is-ours", "error")]),
        (a_spec({"args": {"api_key": "x"}}), [("spec.engine.vllm.args.api_key", "flag-is-ours", "error")]),
        (
            a_spec({"args": {"max-model-len": 1}}),
            [("spec.engine.vllm.args.max-model-len", "flag-has-a-field", "error")],
        ),
        (
            a_spec({"args": {"enable-auto-tool-choice": True}}),
            [("spec.engine.vllm.args.enable-auto-tool-choice", "flag-has-a-field", "error")],
        ),
        (a_spec({"args": {"--seed": 1}}), [("spec.engine.vllm.args.--seed", "unknown-flag", "error")]),
        (
            a_spec({"args": {"allowed-origins": '["*"]'}}),
            [("spec.engine.vllm.args.allowed-origins", "flag-has-a-field", "error")],
        ),
        (
            a_spec({"args": {"speculative_config": "{}"}}),
            [("spec.engine.vllm.args.speculative_config", "flag-has-a-field", "error")],
        ),
        (
            a_spec({"adapters": {"modules": [{"model": "a"}, {"model": "b", "name": "a"}]}}),
            [("spec.engine.vllm.adapters.modules[1].name", "adapter-name-taken", "error")],
        ),
        (a_spec({"adapters": {"maxRank": 8}}), [("spec.engine.vllm.adapters.maxRank", "no-effect", "warning")]),
        (
            a_spec({"model": {"runner": "pooling", "maxLength": 512}, "scheduler": {"maxBatchedTokens": 256}}),
            [("spec.engine.vllm.scheduler.maxBatchedTokens", "batch-under-length", "error")],
        ),
        (a_spec({"args": {"seed": False}}), [("spec.engine.vllm.args.seed", "no-effect", "warning")]),
    ],
)
def test_faults(spec: DeploymentSpec, found: list[tuple[str, str, str]]) -> None:
    assert faults(spec) == found


def test_launch_of_a_model_with_draft_and_adapters() -> None:
    engine = {
        "draft": {"model": "small", "nMax": 5},
        "adapters": {
            "modules": [{"model": "tone"}, {"model": "law", "name": "acme/law"}],
            "maxActive": 2,
            "maxRank": 32,
        },
        "server": {"corsOrigins": ["https://chat.example.org"]},
    }
    launch = table.launch(a_spec(engine))
    assert launch.argv[9:] == (
        *("--max-loras", "2", "--max-lora-rank", "32"),
        "--speculative-config",
        '{"model": "/models/draft/small", "method": "draft_model", "num_speculative_tokens": 5}',
        *("--enable-lora", "--lora-modules", "tone=/models/adapter/0-tone", "acme/law=/models/adapter/1-law"),
        *("--allowed-origins", '["https://chat.example.org"]'),
    )
    assert {mount.target: mount.model for mount in launch.mounts} == {
        "/models/qwen": "qwen",
        "/models/adapter/0-tone": "tone",
        "/models/adapter/1-law": "law",
        "/models/draft/small": "small",
    }


@pytest.mark.parametrize("draft", [{"method": "ngram", "model": "m"}, {"method": "eagle3"}, {}])
def test_a_draft_has_a_model_exactly_where_one_guesses(draft: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"takes no model|needs a model"):
        a_spec({"draft": draft})


def test_exactly_one_of_count_and_ids() -> None:
    for gpus in ({}, {"count": 1, "ids": ["0"]}):
        with pytest.raises(ValueError, match="exactly one of count, ids"):
            a_spec(resources={"gpus": gpus})


def test_exactly_one_engine() -> None:
    for engine in ({}, {"vllm": {}, "llamaCpp": {}}):
        with pytest.raises(ValueError, match="exactly one of llamaCpp, vllm, custom"):
            DeploymentSpec.model_validate({"model": "m", "engine": engine})


def test_llama_cpp_takes_its_cuda_image_with_gpus() -> None:
    spec = DeploymentSpec.model_validate(
        {"model": "m", "engine": {"llamaCpp": {}}, "resources": {"gpus": {"count": "all"}}}
    )
    assert table.launch(spec).image == "ghcr.io/ggml-org/llama.cpp:server-cuda"
    assert table.launch(spec).gpus == GpuRequest(count=-1)

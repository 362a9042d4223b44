"""llama.cpp: the command line of a Deployment as a literal, and every fault beside the spec that is free of it."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_ctl.engines import table
from nexus_ctl.engines.fault import Fault
from nexus_ctl.engines.flags import flags as engine_flags
from nexus_ctl.engines.llama_cpp_args import OURS
from nexus_ctl.engines.llama_server.arguments import by_spelling
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import LaunchSpec, Limits, Mount
from nexus_ctl.resources.llama_cpp import LlamaCpp
from nexus_ctl.resources.secret import ValueFrom


def a_spec(engine: dict[str, Any] | None = None, **spec: Any) -> DeploymentSpec:
    """A Deployment of the model `smol` on llama.cpp with these parameters."""
    return DeploymentSpec.model_validate({"model": "smol", "engine": {"llamaCpp": engine or {}}, **spec})


def flags(engine: dict[str, Any]) -> list[str]:
    """What the parameters add to the command line of a spec without any."""
    bare = list(table.launch(a_spec()).argv)
    return [word for word in table.launch(a_spec(engine)).argv if word not in bare]


def faults(engine: dict[str, Any] | None = None, **spec: Any) -> list[tuple[str, str, str]]:
    """(path less the common beginning, code, severity)."""
    found = table.check(a_spec(engine, **spec))
    return [(fault.path.removeprefix("spec.engine.llamaCpp."), fault.code, fault.severity) for fault in found]


# launch


def test_launch_of_a_minimal_deployment() -> None:
    assert table.launch(a_spec()) == LaunchSpec(
        argv=(
            *(
                "llama-server",
                "--model",
                "/models/smol.gguf",
                "--alias",
                "smol",
                "--host",
                "{host}",
                "--port",
                "{port}",
            ),
            *("--parallel", "1", "--metrics", "--jinja"),
        ),
        mounts=(Mount(target="/models/smol.gguf", model="smol"),),
        image="ghcr.io/ggml-org/llama.cpp:server",
    )


def test_launch_of_everything_declared() -> None:
    engine = {
        "contextSize": 4096,
        "parallel": 4,
        "batching": {"batchSize": 1024, "ubatchSize": 256, "continuous": False},
        "memory": {
            "cacheTypeK": "q8_0",
            "cacheTypeV": "q8_0",
            "flashAttention": "on",
            "kvUnified": False,
            "loadMode": "mlock",
        },
        "gpu": {"layers": "all", "splitMode": "row", "tensorSplit": [3, 1.5], "mainGpu": 1},
        "threads": {"generation": 2, "batch": 3, "http": 4},
        "server": {"metrics": False, "slots": False, "timeout": 60, "chatTemplate": "chatml", "jinja": False},
        "embeddings": {"enabled": True, "pooling": "mean"},
        "warmup": False,
        "verbosity": 4,
        "args": {"swa-full": True, "cache-reuse": 256, "perf": False, "no-repack": True, "top-p": 1.0},
    }
    spec = a_spec(
        engine,
        env={"PLAIN": {"value": "x"}, "SECRET": {"valueFrom": {"env": "TOKEN"}}},
        resources={"cpu": 2, "memory": "1Gi"},
    )
    expected = (
        "llama-server --model /models/smol.gguf --alias smol --host {host} --port {port} --ctx-size 4096 --parallel 4 "
        "--batch-size 1024 --ubatch-size 256 --no-cont-batching --cache-type-k q8_0 --cache-type-v q8_0 "
        "--flash-attn on --no-kv-unified --load-mode mlock --gpu-layers all --split-mode row --tensor-split 3,1.5 "
        "--main-gpu 1 --threads 2 --threads-batch 3 --threads-http 4 --no-slots --timeout 60 --chat-template chatml "
        "--no-jinja --embeddings --pooling mean --no-warmup --verbosity 4 "
        "--cache-reuse 256 --no-repack --no-perf --swa-full --top-p 1"
    )
    launch = table.launch(spec)
    assert " ".join(launch.argv) == expected
    assert launch.env == {"PLAIN": "x"}
    assert launch.secret_env == {"SECRET": ValueFrom(env="TOKEN")}
    assert launch.limits == Limits(2, 1 << 30)


def test_the_order_of_raw_args_changes_nothing() -> None:
    one = a_spec({"args": {"cache-reuse": 256, "swa-full": True}})
    other = a_spec({"args": {"swa-full": True, "cache-reuse": 256}})
    assert table.launch(one) == table.launch(other)


def test_every_declared_flag_is_one_that_llama_server_takes() -> None:
    declared = [flag for _, flag, _ in engine_flags(LlamaCpp(), "")]
    spellings = [name for flag in declared for name in (flag.name, flag.off) if name]
    assert len(declared) > 20
    assert [name for name in spellings if name not in by_spelling()] == []


def test_every_reserved_flag_is_one_that_llama_server_takes() -> None:
    assert [name for name in OURS if name not in by_spelling() or by_spelling()[name].name != name] == []


# check


def test_a_sound_deployment_has_no_fault() -> None:
    assert faults() == []
    engine = {"contextSize": 4096, "parallel": 4, "args": {"cache-reuse": 256, "fit": "off", "no-repack": True}}
    assert faults(engine, env={"OMP_NUM_THREADS": {"value": "1"}}) == []


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ({"contextSize": 4098, "parallel": 4}, ("contextSize", "uneven-slots", "warning")),
        ({"batching": {"ubatchSize": 4096}}, ("batching.ubatchSize", "ubatch-over-batch", "error")),
        (
            {"batching": {"batchSize": 512, "ubatchSize": 1024}},
            ("batching.ubatchSize", "ubatch-over-batch", "error"),
        ),
        (
            {"memory": {"cacheTypeV": "q4_0", "flashAttention": "off"}},
            ("memory.cacheTypeV", "quantized-v-needs-flash-attention", "error"),
        ),
        ({"gpu": {"mainGpu": 1}}, ("gpu.mainGpu", "no-effect", "warning")),
        ({"gpu": {"splitMode": "none", "tensorSplit": [1, 1]}}, ("gpu.tensorSplit", "no-effect", "warning")),
        ({"embeddings": {"pooling": "rank"}}, ("embeddings.pooling", "no-effect", "error")),
        (
            {"contextSize": 2048, "embeddings": {"enabled": True}},
            ("embeddings.enabled", "embedding-over-ubatch", "warning"),
        ),
    ],
)
def test_fields_that_disagree(engine: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert faults(engine) == [expected]


@pytest.mark.parametrize(
    "engine",
    [
        {"contextSize": 4098, "parallel": 4, "memory": {"kvUnified": True}},
        {"contextSize": 4098, "parallel": 1},
        {"batching": {"batchSize": 4096, "ubatchSize": 4096}},
        {"batching": {"batchSize": 256}},
        {"memory": {"cacheTypeV": "q4_0", "flashAttention": "on"}},
        {"memory": {"cacheTypeV": "q4_0"}},
        {"memory": {"cacheTypeV": "bf16", "flashAttention": "off"}},
        {"gpu": {"mainGpu": 1, "splitMode": "none"}},
        {"gpu": {"tensorSplit": [1, 1]}},
        {"embeddings": {"enabled": True, "pooling": "rank"}},
        {"contextSize": 2048, "embeddings": {"enabled": True}, "batching": {"ubatchSize": 2048}},
        {"contextSize": 2048, "parallel": 4, "embeddings": {"enabled": True}},
    ],
)
def test_fields_that_agree(engine: dict[str, Any]) -> None:
    assert faults(engine) == []


def test_more_threads_than_cores() -> None:
    engine = {"threads": {"generation": 4}}
    expected = [("threads.generation", "more-threads-than-cores", "warning")]
    assert faults(engine, resources={"cpu": 2}) == expected
    assert faults(engine, resources={"cpu": 4}) == []
    assert faults(engine) == []


@pytest.mark.parametrize(
    ("name", "value", "code", "words"),
    [
        ("kache-reuse", 1, "unknown-flag", "did you mean 'cache-reuse'?"),
        ("np", 4, "unknown-flag", "did you mean 'parallel'?"),
        ("--cache-reuse", 1, "unknown-flag", "cache-reuse: ..."),
        ("zzzzzz", 1, "unknown-flag", "see llama-server --help"),
        ("draft-max", 4, "removed-flag", "use --spec-draft-n-max"),
        ("ctx-size", 4096, "flag-has-a-field", "use spec.engine.llamaCpp.contextSize"),
        ("n-gpu-layers", 4, "flag-has-a-field", "use spec.engine.llamaCpp.gpu.layers"),
        ("no-slots", True, "flag-has-a-field", "use spec.engine.llamaCpp.server.slots"),
        ("cont-batching", True, "flag-has-a-field", "use spec.engine.llamaCpp.batching.continuous"),
        ("port", 80, "flag-is-ours", "leave it out"),
        ("api-key", "x", "flag-is-ours", "leave it out"),
        ("hf-repo", "a/b", "flag-is-ours", "leave it out"),
        ("cache-reuse", "many", "invalid-flag-value", "smallest chunk"),
        ("cache-reuse", 1.5, "invalid-flag-value", "smallest chunk"),
        ("cache-reuse", True, "invalid-flag-value", "smallest chunk"),
        ("poll", 101, "invalid-flag-value", "busy-wait"),
        ("numa", "everywhere", "invalid-flag-value", "one of distribute, isolate, numactl"),
        ("fit", True, "invalid-flag-value", "one of on, off (quote on and off)"),
        ("swa-full", 1, "invalid-flag-value", "full-length cache"),
        ("swa-full", False, "invalid-flag-value", "full-length cache"),
        ("perf", "no", "invalid-flag-value", "timing counters"),
        ("no-perf", False, "invalid-flag-value", "timing counters"),
        ("control-vector-layer-range", "1 2", "invalid-flag-value", "layer"),
    ],
)
def test_raw_args(name: str, value: object, code: str, words: str) -> None:
    (fault,) = table.check(a_spec({"args": {name: value}}))
    assert (fault.path, fault.code, fault.severity) == (f"spec.engine.llamaCpp.args.{name}", code, "error")
    assert words in fault.hint


def test_raw_args_that_are_right() -> None:
    right = {
        "cache-reuse": "256",
        "perf": False,
        "no-kv-offload": True,
        "swa-full": True,
        "spec-draft-ngl": "all",
        "poll": 100,
        "cpu-strict": 1,
        "top-p": 0.5,
        "temp": 1,
        "lora": "/adapters/a.gguf",
        "fit": "off",
    }
    assert faults({"args": right}) == []


def test_two_spellings_of_one_argument() -> None:
    assert faults({"args": {"predict": 1, "n-predict": 2}}) == [("args.n-predict", "flag-given-twice", "error")]


def test_arguments_that_open_the_machine_are_said() -> None:
    assert faults({"args": {"agent": True}}) == [("args.agent", "risky-flag", "warning")]


def test_arguments_by_environment() -> None:
    names = ("LLAMA_ARG_CTX_SIZE", "LLAMA_ARG_CACHE_REUSE", "LLAMA_API_KEY")
    found = table.check(a_spec(env={name: {"value": "1"} for name in names}))
    assert [(fault.path, fault.code) for fault in found] == [(f"spec.env.{n}", "flag-by-environment") for n in names]
    assert [fault.hint for fault in found] == [
        "declare it as spec.engine.llamaCpp.contextSize",
        "declare it as args.cache-reuse",
        OURS["--api-key"],
    ]


def test_all_faults_come_at_once() -> None:
    assert len(faults({"args": {"port": 1, "nope-nope": 1}, "embeddings": {"pooling": "cls"}})) == 3
    assert all(isinstance(fault, Fault) and fault.hint for fault in table.check(a_spec({"args": {"port": 1}})))

"""llama.cpp: the command line of a Deployment as a literal, and every fault beside the spec that is free of it."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest

from nexus_ctl.engines import table
from nexus_ctl.engines.fault import Fault
from nexus_ctl.engines.flags import declarable
from nexus_ctl.engines.llama_cpp_args import OURS
from nexus_ctl.engines.llama_server.arguments import Argument, Kind, by_spelling
from nexus_ctl.resources.declared import models_of
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.field import Spec
from nexus_ctl.resources.flag import Flag
from nexus_ctl.resources.launch import LaunchSpec, Limits, Mount
from nexus_ctl.resources.llama_cpp import LlamaCpp
from nexus_ctl.resources.normal import item_spec
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
            *("--parallel", "1", "--metrics", "--jinja", "--no-webui"),
        ),
        env={"LLAMA_ARG_CORS_ORIGINS": "localhost"},
        mounts=(Mount(target="/models/smol.gguf", model="smol"),),
        image="ghcr.io/ggml-org/llama.cpp:server",
    )


def test_launch_of_everything_declared() -> None:
    engine = {
        "contextSize": 4096,
        "parallel": 4,
        "batching": {
            "batchSize": 1024,
            "ubatchSize": 256,
            "continuous": False,
            "cachePrompt": False,
            "contextShift": True,
            "keep": -1,
        },
        "memory": {
            "cacheTypeK": "q8_0",
            "cacheTypeV": "q8_0",
            "flashAttention": "on",
            "kvUnified": False,
            "loadMode": "mlock",
            "kvOffload": False,
            "swaFull": True,
            "cacheRamMib": 0,
        },
        "loading": {"lazy": "off", "checkTensors": True, "repack": False, "numa": "isolate"},
        "gpu": {
            "devices": ["CUDA1", "CUDA0"],
            "layers": "all",
            "splitMode": "row",
            "tensorSplit": [3, 1.5],
            "mainGpu": 1,
        },
        "threads": {"generation": 2, "batch": 3, "http": 4},
        "server": {
            "metrics": False,
            "slots": False,
            "timeout": 60,
            "chatTemplate": "chatml",
            "jinja": False,
            "webUi": True,
            "corsOrigins": ["https://a.example", "https://b.example"],
        },
        "reasoning": {"enabled": "on", "format": "deepseek", "effort": "low", "budget": 64},
        "rope": {
            "scaling": "yarn",
            "scale": 4,
            "freqBase": 1e6,
            "yarnOriginalContext": 8192,
            "yarnExtrapolation": 0.5,
            "yarnAttention": 1,
            "yarnBetaSlow": 1,
            "yarnBetaFast": 32,
        },
        "sampling": {
            "temperature": 0.5,
            "topK": 20,
            "topP": 0.9,
            "minP": 0.1,
            "typicalP": 1,
            "repeatPenalty": 1.1,
            "repeatLastN": -1,
            "presencePenalty": 0.5,
            "frequencyPenalty": -0.5,
            "dryMultiplier": 0.8,
            "dryBase": 2,
            "dryAllowedLength": 3,
            "xtcProbability": 0.1,
            "xtcThreshold": 0.2,
            "mirostat": 2,
            "mirostatLearningRate": 0.2,
            "mirostatEntropy": 4,
            "samplers": ["top_k", "temperature"],
            "seed": 7,
            "maxTokens": 100,
        },
        "embeddings": {"enabled": True, "pooling": "mean"},
        "warmup": False,
        "verbosity": 4,
        "args": {"embd-normalize": 1, "perf": False, "no-op-offload": True, "dynatemp-range": 1.0},
    }
    spec = a_spec(
        engine,
        env={"PLAIN": {"value": "x"}, "SECRET": {"valueFrom": {"env": "TOKEN"}}},
        resources={"cpu": 2, "memory": "1Gi"},
    )
    expected = (
        "llama-server --model /models/smol.gguf --alias smol --host {host} --port {port} --ctx-size 4096 --parallel 4 "
        "--batch-size 1024 --ubatch-size 256 --no-cont-batching "
        "--no-cache-prompt --context-shift --keep -1 --cache-type-k q8_0 --cache-type-v q8_0 "
        "--flash-attn on --no-kv-unified --no-kv-offload --swa-full --cache-ram 0 --load-mode mlock "
        "--lazy-mode off --check-tensors --no-repack --numa isolate --device CUDA1,CUDA0 "
        "--gpu-layers all --split-mode row --tensor-split 3,1.5 "
        "--main-gpu 1 --threads 2 --threads-batch 3 --threads-http 4 --no-slots --timeout 60 --chat-template chatml "
        "--no-jinja --embeddings --pooling mean --temp 0.5 --top-k 20 --top-p 0.9 --min-p 0.1 --typical 1 "
        "--repeat-penalty 1.1 --repeat-last-n -1 --presence-penalty 0.5 --frequency-penalty -0.5 "
        "--dry-multiplier 0.8 --dry-base 2 --dry-allowed-length 3 --xtc-probability 0.1 --xtc-threshold 0.2 "
        "--mirostat 2 --mirostat-lr 0.2 --mirostat-ent 4 --samplers top_k;temperature --seed 7 --predict 100 "
        "--reasoning on --reasoning-format deepseek --reasoning-effort low --reasoning-budget 64 "
        "--rope-scaling yarn --rope-scale 4 --rope-freq-base 1000000 --yarn-orig-ctx 8192 --yarn-ext-factor 0.5 "
        "--yarn-attn-factor 1 --yarn-beta-slow 1 --yarn-beta-fast 32 --no-warmup --verbosity 4 "
        "--dynatemp-range 1 --embd-normalize 1 --no-op-offload --no-perf"
    )
    launch = table.launch(spec)
    assert " ".join(launch.argv) == expected
    assert launch.env == {"PLAIN": "x", "LLAMA_ARG_CORS_ORIGINS": "https://a.example,https://b.example"}
    assert launch.secret_env == {"SECRET": ValueFrom(env="TOKEN")}
    assert launch.limits == Limits(2, 1 << 30)


def test_a_model_may_guess_by_a_head_of_its_own() -> None:
    assert flags({"draft": {"method": "mtp", "nMax": 2}}) == ["--spec-draft-n-max", "2", "--spec-type", "draft-mtp"]
    for draft in ({}, {"method": "eagle3"}, {"method": "mtp", "file": "*.gguf"}):
        with pytest.raises(ValueError, match=r"needs a model|none is given"):
            a_spec({"draft": draft})


def test_the_order_of_raw_args_changes_nothing() -> None:
    one = a_spec({"args": {"embd-normalize": 1, "no-host": True}})
    other = a_spec({"args": {"no-host": True, "embd-normalize": 1}})
    assert table.launch(one) == table.launch(other)


def test_every_declared_flag_is_one_that_llama_server_takes() -> None:
    spellings = declarable(LlamaCpp, "")
    assert len(spellings) > 80
    assert [name for name in spellings if name not in by_spelling()] == []


def fits(annotation: Any, argument: Argument) -> bool:
    """Whether every value that a field takes is one that its argument takes."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return fits(args[0], argument)
    if origin in (Union, UnionType):
        return all(fits(each, argument) for each in args if each is not type(None))
    if origin is Literal:
        numbers = argument.kind is Kind.INTEGER and all(isinstance(value, int) for value in args)
        words = argument.kind is Kind.LAYERS and set(args) <= {"auto", "all"}
        known = argument.kind is Kind.CHOICE and set(args) <= set(argument.allowed)
        return numbers or words or known
    if origin is list:
        return argument.kind in (Kind.LIST, Kind.TEXT)
    kinds = {
        bool: (Kind.FLAG, Kind.SWITCH),
        int: (Kind.INTEGER, Kind.LAYERS),
        float: (Kind.NUMBER,),
        str: (Kind.TEXT, Kind.PATH, *([] if argument.allowed else [Kind.CHOICE])),
    }
    return argument.kind in kinds[annotation]


def flagged_fields(spec: type[Spec], path: str = "") -> Iterator[tuple[str, Any, Flag]]:
    """(path, annotation, flag) of every field that names one, at any depth."""
    for name, info in spec.model_fields.items():
        flag = next((mark for mark in info.metadata if isinstance(mark, Flag)), None)
        nested = item_spec(info.annotation)
        if flag is not None:
            yield f"{path}.{name}", info.annotation, flag
        elif nested is not None:
            yield from flagged_fields(nested, f"{path}.{name}")


def test_every_field_takes_what_its_flag_takes() -> None:
    rows = list(flagged_fields(LlamaCpp))
    assert len(rows) > 75
    wrong = [path for path, annotation, flag in rows if not fits(annotation, by_spelling()[flag.name or flag.off])]
    assert wrong == []
    switches = [flag for _, annotation, flag in rows if annotation is bool and flag.off]
    assert all(by_spelling()[flag.off].off_names for flag in switches)


def test_every_reserved_flag_is_one_that_llama_server_takes() -> None:
    assert [name for name in OURS if name not in by_spelling() or by_spelling()[name].name != name] == []


def test_launch_of_a_model_with_companions() -> None:
    engine = {
        "file": "*Q4_K_M*.gguf",
        "draft": {
            "model": "tiny", "nMax": 8, "nMin": 2, "pMin": 0.5, "sampling": "greedy", "gpuLayers": 0,
            "devices": ["CUDA1"], "cacheTypeK": "q8_0", "cacheTypeV": "q8_0", "threads": 1,
        },
        "adapters": [
            {"model": "tone"}, {"model": "tone", "file": "b.gguf", "scale": 0.5}, {"model": "late", "scale": 0},
        ],
        "projector": {
            "model": "smol", "file": "mmproj*", "offload": False, "imageMinTokens": 64, "imageMaxTokens": 256,
        },
    }  # fmt: skip
    launch = table.launch(a_spec(engine))
    assert " ".join(flags(engine)) == (
        "--spec-draft-n-max 8 --spec-draft-n-min 2 --spec-draft-p-min 0.5 --spec-draft-sampling greedy "
        "--spec-draft-ngl 0 --spec-draft-device CUDA1 --spec-draft-type-k q8_0 --spec-draft-type-v q8_0 "
        "--spec-draft-threads --no-mmproj-offload --image-min-tokens 64 --image-max-tokens 256 "
        "--spec-draft-model /models/draft/tiny.gguf --mmproj /models/projector/smol.gguf --spec-type draft-simple "
        "--lora-scaled /models/adapter/0-tone.gguf:1,/models/adapter/1-tone.gguf:0.5,/models/adapter/2-late.gguf:0"
    )
    assert launch.mounts == (
        Mount("/models/smol.gguf", model="smol", file="*Q4_K_M*.gguf"),
        Mount("/models/draft/tiny.gguf", model="tiny"),
        Mount("/models/adapter/0-tone.gguf", model="tone"),
        Mount("/models/adapter/1-tone.gguf", model="tone", file="b.gguf"),
        Mount("/models/adapter/2-late.gguf", model="late"),
        Mount("/models/projector/smol.gguf", model="smol", file="mmproj*"),
    )
    assert models_of(a_spec(engine)) == {
        "spec.model": "smol",
        "spec.engine.llamaCpp.draft.model": "tiny",
        "spec.engine.llamaCpp.adapters[0].model": "tone",
        "spec.engine.llamaCpp.adapters[1].model": "tone",
        "spec.engine.llamaCpp.adapters[2].model": "late",
        "spec.engine.llamaCpp.projector.model": "smol",
    }


# check


def test_a_sound_deployment_has_no_fault() -> None:
    assert faults() == []
    engine = {"contextSize": 4096, "parallel": 4, "args": {"embd-normalize": 1, "fit": "off", "no-op-offload": True}}
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
        (
            {"contextSize": 2048, "reranking": {"enabled": True}},
            ("reranking.enabled", "embedding-over-ubatch", "warning"),
        ),
        (
            {"reranking": {"enabled": True}, "embeddings": {"pooling": "mean"}},
            ("embeddings.pooling", "reranking-pools-by-rank", "error"),
        ),
        (
            {"reranking": {"enabled": True}, "parallel": 3},
            ("batching.ubatchSize", "batch-does-not-divide", "warning"),
        ),
        ({"embeddings": {"enabled": True}, "draft": {"model": "d"}}, ("draft", "no-effect", "warning")),
        ({"reranking": {"enabled": True}, "projector": {"model": "p"}}, ("projector", "no-effect", "warning")),
        ({"contextSize": 512, "parallel": 4}, ("contextSize", "context-too-small", "warning")),
        ({"contextSize": 3, "parallel": 4}, ("contextSize", "context-too-small", "error")),
        (
            {"batching": {"cacheReuse": 64, "cachePrompt": False}},
            ("batching.cacheReuse", "no-effect", "warning"),
        ),
        ({"batching": {"keep": 64}}, ("batching.keep", "no-effect", "warning")),
        ({"memory": {"loadMode": "dio"}, "loading": {"lazy": "on"}}, ("loading.lazy", "no-effect", "warning")),
        ({"gpu": {"tensorSplit": [0, 0]}}, ("gpu.tensorSplit", "invalid-value", "error")),
        (
            {"gpu": {"devices": ["CUDA0"], "tensorSplit": [1, 1]}},
            ("gpu.tensorSplit", "gpus-do-not-match", "error"),
        ),
        (
            {"gpu": {"devices": ["CUDA0", "CUDA1"], "tensorSplit": [1]}},
            ("gpu.tensorSplit", "gpus-do-not-match", "warning"),
        ),
        (
            {"gpu": {"devices": ["CUDA0"], "splitMode": "none", "mainGpu": 1}},
            ("gpu.mainGpu", "gpus-do-not-match", "error"),
        ),
        ({"rope": {"scale": 4, "freqScale": 0.25}}, ("rope.freqScale", "flag-given-twice", "error")),
        ({"rope": {"scaling": "linear", "yarnBetaFast": 32}}, ("rope.yarnBetaFast", "no-effect", "warning")),
        ({"rope": {"scaling": "none", "scale": 4}}, ("rope.scale", "no-effect", "warning")),
        ({"draft": {"model": "d", "nMin": 4}}, ("draft.nMin", "draft-min-over-max", "error")),
        (
            {"draft": {"model": "d", "cacheTypeV": "q8_0"}, "memory": {"flashAttention": "off"}},
            ("draft.cacheTypeV", "quantized-v-needs-flash-attention", "error"),
        ),
        (
            {"draft": {"model": "d"}, "args": {"spec-type": "ngram-mod"}},
            ("args.spec-type", "flag-has-a-field", "error"),
        ),
        ({"args": {"grammar-file": "/g.gbnf"}}, ("args.grammar-file", "path-not-mounted", "warning")),
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
        {"contextSize": 512, "reranking": {"enabled": True}, "embeddings": {"pooling": "rank"}},
        {"draft": {"model": "d", "nMin": 4, "nMax": 8, "cacheTypeV": "q8_0"}},
        {"gpu": {"devices": ["CUDA0", "CUDA1"], "splitMode": "row", "mainGpu": 1, "tensorSplit": [1, 0]}},
        {"rope": {"scale": 4, "yarnBetaFast": 32}},
        {"batching": {"cacheReuse": 64, "contextShift": True, "keep": 64}},
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
        ("cache-reuse", 256, "flag-has-a-field", "use spec.engine.llamaCpp.batching.cacheReuse"),
        ("no-repack", True, "flag-has-a-field", "use spec.engine.llamaCpp.loading.repack"),
        ("model-draft", "/m.gguf", "flag-has-a-field", "use spec.engine.llamaCpp.draft.model"),
        ("spec-draft-n-max", 4, "flag-has-a-field", "use spec.engine.llamaCpp.draft.nMax"),
        ("lora", "/a.gguf", "flag-has-a-field", "use spec.engine.llamaCpp.adapters"),
        ("lora-scaled", "/a.gguf:1", "flag-has-a-field", "use spec.engine.llamaCpp.adapters"),
        ("mmproj", "/p.gguf", "flag-has-a-field", "use spec.engine.llamaCpp.projector.model"),
        ("rerank", True, "flag-has-a-field", "use spec.engine.llamaCpp.reranking.enabled"),
        ("cors-origins", "*", "flag-has-a-field", "use spec.engine.llamaCpp.server.corsOrigins"),
        ("chat-template-file", "/t.jinja", "flag-is-ours", "leave it out"),
        ("slot-save-path", "/slots", "flag-is-ours", "leave it out"),
        ("np", 4, "unknown-flag", "did you mean 'parallel'?"),
        ("--embd-normalize", 1, "unknown-flag", "embd-normalize: ..."),
        ("zzzzzz", 1, "unknown-flag", "see llama-server --help"),
        ("draft-max", 4, "removed-flag", "use --spec-draft-n-max"),
        ("ctx-size", 4096, "flag-has-a-field", "use spec.engine.llamaCpp.contextSize"),
        ("n-gpu-layers", 4, "flag-has-a-field", "use spec.engine.llamaCpp.gpu.layers"),
        ("no-slots", True, "flag-has-a-field", "use spec.engine.llamaCpp.server.slots"),
        ("cont-batching", True, "flag-has-a-field", "use spec.engine.llamaCpp.batching.continuous"),
        ("port", 80, "flag-is-ours", "leave it out"),
        ("api-key", "x", "flag-is-ours", "leave it out"),
        ("hf-repo", "a/b", "flag-is-ours", "leave it out"),
        ("embd-normalize", "many", "invalid-flag-value", "embedding norm"),
        ("embd-normalize", 1.5, "invalid-flag-value", "embedding norm"),
        ("embd-normalize", True, "invalid-flag-value", "embedding norm"),
        ("poll", 101, "invalid-flag-value", "busy-wait"),
        ("fit", True, "invalid-flag-value", "one of on, off (quote on and off)"),
        ("spm-infill", 1, "invalid-flag-value", "suffix-first"),
        ("spm-infill", False, "invalid-flag-value", "suffix-first"),
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
        "embd-normalize": "1",
        "perf": False,
        "no-op-offload": True,
        "spm-infill": True,
        "spec-type": "ngram-simple",
        "poll": 100,
        "cpu-strict": 1,
        "dynatemp-range": 0.5,
        "dynatemp-exp": 1,
        "fit": "off",
    }
    assert faults({"args": right}) == []


def test_two_spellings_of_one_argument() -> None:
    both = {"grammar": "root ::= [a]", "spm-infill": True, "log-verbose": True, "verbose": True}
    assert faults({"args": both}) == [("args.verbose", "flag-given-twice", "error")]


def test_arguments_that_open_the_machine_are_said() -> None:
    assert faults({"args": {"agent": True}}) == [("args.agent", "risky-flag", "warning")]


def test_arguments_by_environment() -> None:
    names = ("LLAMA_ARG_CTX_SIZE", "LLAMA_ARG_OFFLINE", "LLAMA_API_KEY")
    found = table.check(a_spec(env={name: {"value": "1"} for name in names}))
    assert [(fault.path, fault.code) for fault in found] == [(f"spec.env.{n}", "flag-by-environment") for n in names]
    assert [fault.hint for fault in found] == [
        "declare it as spec.engine.llamaCpp.contextSize",
        "declare it as args.offline",
        OURS["--api-key"],
    ]


def test_all_faults_come_at_once() -> None:
    assert len(faults({"args": {"port": 1, "nope-nope": 1}, "embeddings": {"pooling": "cls"}})) == 3
    assert all(isinstance(fault, Fault) and fault.hint for fault in table.check(a_spec({"args": {"port": 1}})))

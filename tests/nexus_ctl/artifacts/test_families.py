"""Every class that is converted, answered by the real engine: the next token's distribution is transformers' own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nexus_ctl.artifacts.architectures import FAMILIES
from nexus_ctl.artifacts.converter import main as convert
from tests.fakes.checkpoints import CHECKPOINTS, PROMPTS, Checkpoint
from tests.fakes.engine_answers import Answers, Question, ask
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

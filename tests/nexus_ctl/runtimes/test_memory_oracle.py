"""The engine's own pass: exact on a hollow copy, cached, and refused rather than misread when the build differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.artifacts.headers.hollow import write_hollow
from nexus_ctl.artifacts.headers.window import BadHeader
from nexus_ctl.resources.memory import EngineSettings
from nexus_ctl.resources.weights import GgufHeader
from nexus_ctl.runtimes import memory_oracle, memory_oracle_child
from nexus_ctl.runtimes.memory_oracle import Oracle, OracleUnavailable, ask, cache_key
from tests.fakes.gguf_models import TINY, write

SETTINGS = EngineSettings(context_size=2048, parallel=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GgufHeader]:
    path = write(TINY["qwen3"], tmp_path_factory.mktemp("oracle") / "model.gguf")
    return path, read_file(path).header


def test_a_hollow_copy_answers_like_the_file(model: tuple[Path, GgufHeader], tmp_path: Path) -> None:
    path, header = model
    hollow = write_hollow(
        lambda offset, length: path.read_bytes()[offset : offset + length], header, tmp_path / "h.gguf"
    )
    assert hollow.stat().st_size == path.stat().st_size
    assert hollow.stat().st_blocks * 512 < header.data_offset + (1 << 20)
    first, second = ask(hollow, header, (SETTINGS, EngineSettings(context_size=512))), ask(path, header, (SETTINGS,))
    assert first[0] == second[0]
    assert first[1] != first[0]


def test_a_source_that_ends_early_is_no_copy(model: tuple[Path, GgufHeader], tmp_path: Path) -> None:
    with pytest.raises(BadHeader, match="ends inside"):
        write_hollow(lambda offset, length: b"GGUF", model[1], tmp_path / "h.gguf")


def test_an_answer_is_asked_for_once(
    model: tuple[Path, GgufHeader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, header = model
    oracle = Oracle(tmp_path / "answers")
    first = oracle.answer(path, header, SETTINGS)
    monkeypatch.setattr(memory_oracle.sys, "executable", "/nonexistent")
    assert oracle.answer(path, header, SETTINGS) == first
    with pytest.raises(FileNotFoundError):
        oracle.answer(path, header, EngineSettings(context_size=512))


def test_a_torn_answer_is_asked_for_again(model: tuple[Path, GgufHeader], tmp_path: Path) -> None:
    path, header = model
    oracle = Oracle(tmp_path)
    first = oracle.answer(path, header, SETTINGS)
    (kept,) = tmp_path.glob("*.json")
    kept.write_text(kept.read_text()[:20])
    assert oracle.answer(path, header, SETTINGS) == first


def test_whatever_could_change_the_answer_changes_its_key(model: tuple[Path, GgufHeader]) -> None:
    header = model[1]
    keys = {
        cache_key(header, SETTINGS, "1"),
        cache_key(header, SETTINGS, "2"),
        cache_key(header, EngineSettings(), "1"),
    }
    assert len(keys) == 3


def test_another_build_is_refused(model: tuple[Path, GgufHeader], monkeypatch: pytest.MonkeyPatch) -> None:
    path, header = model
    monkeypatch.setattr(memory_oracle.metadata, "version", lambda name: "2031.1.1")
    with pytest.raises(OracleUnavailable, match=r"2031\.1\.1; 2026"):
        ask(path, header, (SETTINGS,))


def test_other_struct_layouts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(memory_oracle_child.CONTEXT_DEFAULTS, "n_ubatch", 513)
    with pytest.raises(RuntimeError, match="parameters differ: n_ubatch"):
        memory_oracle_child.load()


def test_an_engine_that_dies_is_an_error_in_words(model: tuple[Path, GgufHeader], tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(model[0].read_bytes()[:4096])
    with pytest.raises(OracleUnavailable, match=r"ended with .* on broken\.gguf"):
        ask(broken, model[1], (SETTINGS,))

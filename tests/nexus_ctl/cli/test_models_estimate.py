"""`nexusctl models estimate`: the numbers are the estimator's, for a file and for a declared Model that is here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.main import run
from nexus_ctl.placement.llama_cpp.estimate import estimate
from nexus_ctl.resources.device import DeviceList
from nexus_ctl.resources.memory import EngineSettings
from tests.fakes.gguf_models import TINY, write
from tests.fakes.hub import FakeHub
from tests.fakes.workspace import HOST_RAM


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(TINY["llama-gqa"], tmp_path / "tiny.gguf")


def test_the_json_is_the_estimate(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--ctx", "1024", "--parallel", "2", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0", "--ubatch", "256")
    words = ("models", "estimate", str(model), *given, "-o", "json")
    assert run(words, Invocation(words, machine=lambda: (HOST_RAM, DeviceList(())))) == 0
    settings = EngineSettings(1024, 2, cache_type_k="q8_0", cache_type_v="q8_0", ubatch_size=256)
    told = json.loads(capsys.readouterr().out)
    computed = estimate(read_file(model).header, settings).to_json()
    assert {name: told[name] for name in computed} == json.loads(json.dumps(computed))
    assert (told["model"], told["read"]) == (str(model), {"requests": 0, "headerBytes": 0})


def test_the_table_says_how_each_number_is_known(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "estimate", str(model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["PLACE", "PART", "BYTES", "SIZE", "MARGIN", "BASIS", "FORMULA"]
    by_part = {line.split()[1]: line for line in lines[1:] if line.startswith("host")}
    assert "exact" in by_part["weights"]
    assert "exact" in by_part["kvCache"]
    assert "formula" in by_part["compute"]
    assert "total" in by_part


def test_what_is_no_model_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"root:x:0:0")
    assert run(["models", "estimate", str(broken)]) == 2
    assert "error[no-header]" in capsys.readouterr().err
    assert run(["models", "estimate", str(tmp_path / "missing.gguf")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_declared_model_is_found_by_name(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "apiVersion: nexus/v1\nkind: "
    (tmp_path / "nexus.yaml").write_text(
        f"{head}Stack\nmetadata: {{name: s}}\nspec:\n  runtime: {{driver: process}}\n  modelCache: {{path: cache}}\n"
        f"---\n{head}Model\nmetadata: {{name: tiny}}\nspec: {{source: {{path: tiny.gguf}}}}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert run(["models", "estimate", "tiny", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["weightsBytes"] > 0
    (tmp_path / "tiny.gguf").unlink()
    assert run(["models", "show", "tiny"]) == 0
    assert "tiny.gguf cannot be read" in capsys.readouterr().out
    assert run(["models", "estimate", "nobody"]) == 2
    assert "there are: tiny" in capsys.readouterr().err


def test_the_real_model_is_known_by_its_header_alone(
    smollm2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the hub the same numbers as from the file, for a hundredth of its bytes."""
    content = smollm2.read_bytes()
    (tmp_path / "nexus.yaml").write_text(
        "apiVersion: nexus/v1\nkind: Stack\nmetadata: {name: s}\nspec: {modelCache: {path: cache}}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    with FakeHub() as hub:
        hub.commit("hf/SmolLM2-GGUF", {"SmolLM2-135M-Instruct.Q4_1.gguf": content})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        told = {}
        for name in ("hf:hf/SmolLM2-GGUF/Q4_1", str(smollm2)):
            assert run(["models", "estimate", name, "--ctx", "4096", "-o", "json"]) == 0
            told[name] = json.loads(capsys.readouterr().out)
        remote, local = told.values()
        for key in (
            "weightsBytes",
            "kvCacheBytes",
            "computeBytes",
            "outputBytes",
            "overheadBytes",
            "totalBytes",
            "basis",
        ):
            assert remote[key] == local[key]
        assert hub.sent_by_storage <= remote["read"]["headerBytes"] < len(content) / 20

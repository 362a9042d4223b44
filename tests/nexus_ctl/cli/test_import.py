"""`nexusctl import docker/NAME`: what is printed loads as it stands, and what it does not say is told beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.main import run
from nexus_ctl.errors import UsageError
from nexus_ctl.runtimes.docker.importing import Imported

MODEL = {"apiVersion": "nexus/v1", "kind": "Model", "metadata": {"name": "old-model"}}
DEPLOYMENT = {"apiVersion": "nexus/v1", "kind": "Deployment", "metadata": {"name": "old"}}


def imported(tmp_path: Path, **llama: Any) -> Imported:
    (tmp_path / "m.gguf").write_bytes(b"weights")
    spec = {"model": "old-model", "engine": {"llamaCpp": llama}, "env": {"PRICE": {"value": "${5}"}}}
    documents = (MODEL | {"spec": {"source": {"path": str(tmp_path / "m.gguf")}}}, DEPLOYMENT | {"spec": spec})
    return Imported(documents, ("its port",))


def called(what: str, *words: str, found: Callable[[str], Imported]) -> int:
    return run(["import", what, *words], Invocation(("import", what), container=found))


def test_the_yaml_loads_as_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: list[str] = []

    def find(name: str) -> Imported:
        names.append(name)
        return imported(tmp_path, contextSize=512)

    assert called("docker/old", found=find) == 0
    said = capsys.readouterr()
    assert (names, said.err) == (["old"], "left out: its port\n")
    assert [one["kind"] for one in yaml.safe_load_all(said.out)] == ["Model", "Deployment"]
    (tmp_path / "nexus.yaml").write_text(said.out, encoding="utf-8")
    assert run(["validate", "-f", str(tmp_path / "nexus.yaml")]) == 0
    capsys.readouterr()
    assert run(["build", "-f", str(tmp_path / "nexus.yaml")]) == 0
    [deployment] = [one for one in yaml.safe_load_all(capsys.readouterr().out) if one["kind"] == "Deployment"]
    assert deployment["spec"]["env"]["PRICE"]["value"] == "$${5}", "the text that the container had"


def test_json_holds_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("docker/old", "-o", "json", found=lambda _: imported(tmp_path, contextSize=512)) == 0
    assert yaml.safe_load(capsys.readouterr().out) == list(imported(tmp_path, contextSize=512).manifests)


def test_what_a_manifest_cannot_hold_is_pointed_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("docker/old", found=lambda _: imported(tmp_path, parallel=1000)) == 2
    said = capsys.readouterr()
    assert "parallel: 1000" in said.out, "it is printed, to be mended"
    assert "parallel" in said.err


@pytest.mark.parametrize("what", ["old", "docker/", "swarm/old"])
def test_only_containers_are_imported(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    def nothing(name: str) -> Imported:
        raise UsageError("not asked for")

    assert called(what, found=nothing) == 2
    assert "nexusctl import docker/NAME" in capsys.readouterr().err

"""Files held against the fields that name them: headers of real files, and what only they can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.engines import table
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.weights import GgufHeader
from tests.fakes.gguf_models import TINY, adapter, projector, write

AT = "spec.engine.llamaCpp"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, GgufHeader]:
    """Headers of small files, read from disk as nexusctl reads them."""
    folder = tmp_path_factory.mktemp("files")
    made = {name: write(TINY[name], folder / f"{name}.gguf") for name in ("llama-gqa", "llama-mqa", "qwen3", "bert")}
    made["adapter"] = adapter(TINY["llama-gqa"], folder / "adapter.gguf")
    made["adapter-wide"] = adapter(TINY["llama-mqa"], folder / "wide.gguf")
    made["adapter-deep"] = adapter(TINY["llama-gqa"], folder / "deep.gguf", layers=9)
    made["adapter-qwen3"] = adapter(TINY["qwen3"], folder / "qwen3-adapter.gguf")
    made["projector"] = projector(512, folder / "mmproj.gguf")
    made["projector-wide"] = projector(768, folder / "mmproj-wide.gguf")
    return {name: read_file(path).header for name, path in made.items()}


def found(files: Mapping[str, GgufHeader], engine: dict[str, Any], served: str = "llama-gqa") -> list[tuple[str, str]]:
    """(path, severity) of the faults; Models are named after the files above."""
    spec = DeploymentSpec.model_validate({"model": served, "engine": {"llamaCpp": engine}})
    headers = {"spec.model": files[served]}
    for role in ("draft", "projector"):
        if role in engine:
            headers[f"{AT}.{role}.model"] = files[engine[role]["model"]]
    for at, one in enumerate(engine.get("adapters", [])):
        headers[f"{AT}.adapters[{at}].model"] = files[one["model"]]
    return [(fault.path.removeprefix(f"{AT}."), fault.severity) for fault in table.check_headers(spec, headers)]


@pytest.mark.parametrize(
    "engine",
    [
        {},
        {"draft": {"model": "llama-gqa"}, "adapters": [{"model": "adapter"}], "projector": {"model": "projector"}},
        {"draft": {"model": "llama-mqa", "method": "eagle3"}},
        {"contextSize": 32_768},
        {"contextSize": 131_072, "parallel": 4},
        {"contextSize": 131_072, "rope": {"scaling": "yarn", "scale": 4}},
        {"contextSize": 131_072, "rope": {"freqScale": 0.25}},
    ],
)
def test_what_goes_together(files: Mapping[str, GgufHeader], engine: dict[str, Any]) -> None:
    assert found(files, engine) == []


@pytest.mark.parametrize(
    ("engine", "fault"),
    [
        ({"draft": {"model": "llama-mqa"}}, ("draft.model", "error")),
        ({"draft": {"model": "adapter"}}, ("draft.model", "error")),
        ({"adapters": [{"model": "adapter"}, {"model": "adapter-qwen3"}]}, ("adapters[1].model", "error")),
        ({"adapters": [{"model": "adapter-wide"}]}, ("adapters[0].model", "error")),
        ({"adapters": [{"model": "adapter-deep"}]}, ("adapters[0].model", "error")),
        ({"adapters": [{"model": "llama-gqa"}]}, ("adapters[0].model", "error")),
        ({"projector": {"model": "llama-gqa"}}, ("projector.model", "error")),
        ({"projector": {"model": "projector-wide"}}, ("projector.model", "warning")),
        ({"contextSize": 65_536}, ("contextSize", "warning")),
        ({"contextSize": 131_072, "rope": {"scaling": "linear", "scale": 2}}, ("contextSize", "warning")),
        ({"reranking": {"enabled": True}}, ("reranking.enabled", "warning")),
    ],
)
def test_what_does_not(files: Mapping[str, GgufHeader], engine: dict[str, Any], fault: tuple[str, str]) -> None:
    assert found(files, engine) == [fault]


@pytest.mark.parametrize(
    ("served", "engine", "faults"),
    [
        ("bert", {"embeddings": {"enabled": True}}, []),
        ("bert", {}, [("spec.model", "warning")]),
        ("bert", {"embeddings": {"enabled": True}, "parallel": 3}, [("batching.ubatchSize", "error")]),
        ("adapter", {}, [("spec.model", "error")]),
        ("projector", {}, [("spec.model", "error")]),
    ],
)
def test_what_is_served(
    files: Mapping[str, GgufHeader], served: str, engine: dict[str, Any], faults: list[tuple[str, str]]
) -> None:
    assert found(files, engine, served) == faults


def test_what_is_not_known_is_no_fault(files: Mapping[str, GgufHeader]) -> None:
    spec = DeploymentSpec.model_validate({"model": "m", "engine": {"llamaCpp": {"draft": {"model": "d"}}}})
    assert table.check_headers(spec, {}) == ()
    assert table.check_headers(spec, {"spec.model": files["qwen3"]}) == ()

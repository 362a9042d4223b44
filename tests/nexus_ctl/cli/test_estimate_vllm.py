"""`models estimate` of safetensors: from a folder, from the hub by its headers, by a Model's name; fits and refusals.

No GPU was there: the machines are made up, the numbers of the model are true.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.main import run
from nexus_ctl.resources.device import Device, DeviceList
from tests.fakes.checkpoints import Checkpoint as Tiny
from tests.fakes.gguf_models import TINY as GGUFS
from tests.fakes.gguf_models import write
from tests.fakes.hub import FakeHub
from tests.fakes.vllm_models import LLAMA_8B, dense, header_bytes
from tests.fakes.workspace import HOST_RAM

GIB = 1 << 30
TINY = Tiny("LlamaForCausalLM", "llama")


def gpus(*free_gib: int, total_gib: int = 24) -> tuple[Device, ...]:
    return tuple(
        Device(f"g{at}", "NVIDIA L4", "cuda", at, total_gib * GIB, free * GIB, (total_gib - free) * GIB)
        for at, free in enumerate(free_gib)
    )


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A folder that looks like Llama 3.1 8B; its file of weights is hollow."""
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA_8B))
    head, size = header_bytes(dense(LLAMA_8B))
    with (folder / "model.safetensors").open("wb") as file:
        file.write(head)
        file.truncate(size)
    return folder


def estimate(words: tuple[str, ...], devices: tuple[Device, ...] = ()) -> int:
    given = ("models", "estimate", *words)
    return run(given, Invocation(given, machine=lambda: (HOST_RAM, DeviceList(devices))))


def told(capsys: pytest.CaptureFixture[str], *words: str, devices: tuple[Device, ...] = ()) -> Mapping[str, Any]:
    assert estimate((*words, "-o", "json"), devices) == 0
    found: Mapping[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_keys_are_those_of_every_estimate(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, str(llama), "--ctx", "8192")
    assert found["weightsBytes"] == 16_060_522_496
    assert found["kvCacheBytes"] == GIB
    assert found["computeBytes"] == 32 * 256 * 128256
    assert (found["outputBytes"], found["overheadBytes"]) == (0, 3 * GIB // 4)
    assert found["totalBytes"] == sum(value for name, value in found.items() if name in PARTS)
    assert found["basis"] == {"weights": "exact", "kvCache": "exact", "compute": "assumed", "overhead": "assumed"}
    assert found["fit"] is None
    assert found["read"] == {"requests": 0, "headerBytes": 0}, "nothing was asked over the network"


PARTS = {"weightsBytes", "kvCacheBytes", "computeBytes", "outputBytes", "overheadBytes"}


def test_a_gpu_that_holds_it(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert estimate((str(llama), "--ctx", "8192"), gpus(24)) == 0
    out = capsys.readouterr().out
    assert "vLLM on this machine: fits: gpu0 18.9 GiB" in out
    assert "with memoryUtilization 0.79: the KV cache would hold" in out
    assert estimate((str(llama),)) == 0
    assert "no GPU to hold it against" in capsys.readouterr().out


def test_the_fewest_gpus_that_hold_it(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = told(capsys, str(llama), devices=gpus(24, 24, 24))
    assert (two["fit"]["fit"], two["fit"]["how"], list(two["fit"]["claimsBytes"])) == (
        "whole",
        "over 2 GPUs",
        ["g0", "g1"],
    )
    assert two["settings"]["tensor"] == 2
    assert told(capsys, str(llama), "--ctx", "8192", devices=gpus(24, 24))["settings"]["tensor"] == 1
    one = told(capsys, str(llama), "--tensor", "1", devices=gpus(24, 24))
    assert (one["fit"]["fit"], one["fit"]["missing"]["place"]) == ("too-large", "g0")
    assert told(capsys, str(llama), "--ctx", "8192", devices=gpus(10))["fit"]["fit"] == "not-now"


def test_each_option_moves_what_it_speaks_of(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = told(capsys, str(llama), "--ctx", "8192", devices=gpus(24))
    assert told(capsys, str(llama), "--ctx", "8192", "--kv-cache-dtype", "fp8")["kvCacheBytes"] == GIB // 2
    wide = told(capsys, str(llama), "--ctx", "8192", "--max-sequences", "512")
    assert wide["computeBytes"] == 2 * base["computeBytes"]
    deep = told(capsys, str(llama), "--ctx", "8192", "--max-batched-tokens", "65536")
    assert deep["computeBytes"] > base["computeBytes"]
    share = told(capsys, str(llama), "--ctx", "8192", "--utilization", "0.9", devices=gpus(24))
    assert share["fit"]["claimsBytes"] == {"g0": int(24 * GIB * 0.9)}
    less = told(capsys, str(llama), "--ctx", "8192", "--utilization", "0.7", devices=gpus(24))
    assert less["fit"]["fit"] == "too-large"
    busy = told(capsys, str(llama), "--ctx", "8192", "--utilization", "0.9", devices=gpus(20))
    assert busy["fit"]["fit"] == "not-now", "vLLM wants its whole share free"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ctx", "131073"), "the model knows 131072 tokens"),
        (("--tensor", "3"), "3 GPUs do not divide the model's 32 heads"),
        (("--tensor", "4"), "4 GPUs are asked for, 1 are here"),
        (("--ubatch", "256"), "--ubatch: this is an estimate of vLLM"),
    ],
)
def test_what_cannot_be_is_refused(
    options: tuple[str, ...], words: str, llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert estimate((str(llama), *options), gpus(24)) == 2
    assert words in capsys.readouterr().err


def test_options_of_vllm_say_nothing_of_a_gguf(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write(GGUFS["llama-gqa"], tmp_path / "tiny.gguf")
    assert estimate((str(model), "--tensor", "2")) == 2
    assert "--tensor: this is an estimate of llama.cpp" in capsys.readouterr().err
    assert estimate((str(tmp_path),)) == 2
    assert "no config.json" in capsys.readouterr().err


def test_a_repository_of_the_hub_and_a_model_by_name_tell_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, content in TINY.files().items():
        (folder / name).write_bytes(content)
    head = "apiVersion: nexus/v1\nkind: "
    (tmp_path / "nexus.yaml").write_text(
        f"{head}Stack\nmetadata: {{name: s}}\nspec:\n  runtime: {{driver: process}}\n  modelCache: {{path: cache}}\n"
        f"---\n{head}Model\nmetadata: {{name: tiny}}\nspec: {{source: {{huggingFace: {{repo: org/tiny}}}}}}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    with FakeHub() as hub:
        hub.commit("org/tiny", TINY.files())
        hub.commit("org/both", TINY.files() | {"a-Q4_0.gguf": write(GGUFS["llama-gqa"], tmp_path / "a").read_bytes()})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        local = told(capsys, str(folder))
        for name in ("hf:org/tiny", "tiny"):
            remote = told(capsys, name)
            assert {key: remote[key] for key in PARTS} == {key: local[key] for key in PARTS}
            assert 0 < remote["read"]["requests"] <= 3
        assert told(capsys, "hf:org/both", "--engine", "vllm")["weightsBytes"] == local["weightsBytes"]
        assert told(capsys, "hf:org/both")["weightsBytes"] != local["weightsBytes"]
        assert estimate(("hf:org/tiny", "--engine", "llamaCpp")) == 2
        assert "no GGUF" in capsys.readouterr().err
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert estimate(("hf:org/tiny",)) != 0
        assert "offline" in capsys.readouterr().err

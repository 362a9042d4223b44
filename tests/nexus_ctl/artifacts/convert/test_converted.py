"""Conversion: the real model, taken apart into a repository, comes back with the same bytes; others are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nexus_ctl.artifacts.convert.converted import converted
from nexus_ctl.artifacts.convert.converter import _retyped
from nexus_ctl.artifacts.headers.folder import Folder
from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.artifacts.headers.gguf_bytes import entries
from nexus_ctl.errors import Terminal
from tests.fakes.hub_model import files_of
from tests.nexus_ctl.artifacts.quantize.test_quantized import ours


@pytest.fixture(scope="module")
def original(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model with 16-bit numbers."""
    path = tmp_path_factory.mktemp("original") / "f16.gguf"
    ours(smollm2, path, "F16")
    return path


@pytest.fixture(scope="module")
def repository(original: Path) -> dict[str, bytes]:
    return files_of(original)


def in_memory(files: Mapping[str, bytes]) -> Folder:
    def reader(content: bytes) -> Any:
        return lambda offset, length: content[offset : offset + length]

    return Folder({name: (reader(content), len(content)) for name, content in files.items()})


def tensor_bytes(path: Path) -> dict[str, bytes]:
    header, content = read_file(path).header, path.read_bytes()
    return {
        one.name: content[header.begins[one.name] : header.begins[one.name] + one.size_bytes] for one in header.tensors
    }


def metadata_bytes(path: Path) -> dict[str, bytes]:
    content = memoryview(path.read_bytes())
    return {key: bytes(content[begin:end]) for key, begin, end in entries(content)}


def test_the_real_model_comes_back(original: Path, repository: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in repository.items():
        (tmp_path / name).write_bytes(content)
    named = [f"{name}={tmp_path / name}" for name in repository]
    target = tmp_path / "made.gguf"
    program = [sys.executable, "-m", "nexus_ctl.artifacts.convert.converter", "f16", str(target), *named]
    subprocess.run(program, check=True, timeout=280)
    wanted, made = converted(in_memory(repository), "f16").header, read_file(target).header
    assert (made.file_bytes, made.tensors, made.metadata) == (wanted.file_bytes, wanted.tensors, wanted.metadata)
    assert tensor_bytes(target) == tensor_bytes(original)
    before, after = metadata_bytes(original), metadata_bytes(target)
    told = {key for key in before if key.startswith(("tokenizer.", "llama."))} - {"tokenizer.ggml.add_space_prefix"}
    assert {key: after.get(key) for key in told} == {key: before[key] for key in told}


def broken(files: Mapping[str, bytes], name: str, **changes: Any) -> dict[str, bytes]:
    """The files with some values of a JSON file changed; those changed to None are gone."""
    value = json.loads(files[name]) | changes
    return {**files, name: json.dumps({key: one for key, one in value.items() if one is not None}).encode()}


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("config.json", {"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM is not one of"),
        ("config.json", {"quantization_config": {"quant_method": "awq"}}, "quantized already"),
        (
            "config.json",
            {"rope_scaling": {"rope_type": "dynamic"}},
            r"config\.json: rope_scaling\.rope_type is 'dynamic'",
        ),
        ("config.json", {"rope_scaling": {"type": "yarn"}}, r"config\.json: factor is missing"),
        ("config.json", {"hidden_size": None}, r"config\.json: hidden_size is missing"),
        ("tokenizer.json", {"model": {"type": "Unigram"}}, r"tokenizer\.json: model\.type is Unigram"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}, "not known here"),
    ],
)
def test_what_would_not_come_out_right_is_refused(
    repository: dict[str, bytes], name: str, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(Terminal, match=told) as caught:
        converted(in_memory(broken(repository, name, **changes)), "bf16")
    assert caught.value.code == "conversion-impossible"
    assert "convert_hf_to_gguf" in caught.value.hint


@pytest.mark.parametrize("lacking", ["config.json", "tokenizer.json", "model-00001-of-00002.safetensors"])
def test_files_that_lack_are_named(repository: dict[str, bytes], lacking: str) -> None:
    with pytest.raises(Terminal, match=r"must be among the files|lack"):
        converted(in_memory({name: content for name, content in repository.items() if name != lacking}), "bf16")


def test_bytes_that_are_no_json_are_refused(repository: dict[str, bytes]) -> None:
    with pytest.raises(Terminal):
        converted(in_memory({**repository, "config.json": b"{"}), "bf16")
    with pytest.raises(Terminal):
        converted(in_memory({**repository, "tokenizer.json": b"[]"}), "bf16")


def test_numbers_are_narrowed_to_the_nearest() -> None:
    wide = np.array([1.0, 1.00390625, 1.01171875, -2.5, np.inf, np.nan, 3.4e38], dtype="<f4")
    narrow = _retyped(wide, "f32", "bf16")
    assert [hex(one) for one in narrow[:5]] == ["0x3f80", "0x3f80", "0x3f82", "0xc020", "0x7f80"]
    assert np.isnan(_retyped(narrow, "bf16", "f32")[5])
    assert _retyped(np.array([0x3F80], dtype="<u2"), "bf16", "f16").tolist() == [1.0]

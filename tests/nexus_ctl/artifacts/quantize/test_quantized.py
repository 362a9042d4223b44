"""The dry run: its types and sizes are those of the real quantizer, over types, architectures and the real model."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import gguf
import numpy as np
import pytest

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.artifacts.quantize.quantized import quantized
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.quantization import FILE_TYPES
from nexus_ctl.resources.weights import GgufHeader
from tests.fakes.gguf_models import REALISTIC, TINY, Shape, write
from tests.fixtures.libllama import quantize

WITHOUT_IMATRIX = [name for name, kind in FILE_TYPES.items() if not kind.needs_imatrix]
ARCHITECTURES = [
    "llama-gqa",
    "llama-mqa",
    "mixtral",
    "qwen2",
    "qwen3moe",
    "gemma3",
    "gpt-oss",
    "deepseek2",
    "lfm2",
    "bert",
]


def library() -> str:
    spec = find_spec("xllamacpp")
    assert spec is not None
    assert spec.origin is not None
    return str(next(Path(spec.origin).parent.glob("xllamacpp*.so")))


def ours(source: Path, target: Path, kind: str, *, imatrix: Path | None = None) -> None:
    """Run the quantizer's program."""
    words = ["--imatrix", str(imatrix)] if imatrix is not None else []
    program = [sys.executable, "-m", "nexus_ctl.artifacts.quantize.quantizer", library(), kind, str(target), "1"]
    subprocess.run([*program, *words, str(source)], check=True, capture_output=True, timeout=280)


def expected(source: Path, kind: str, *, has_imatrix: bool = False) -> GgufHeader:
    return quantized(read_file(source).header, kind, has_imatrix=has_imatrix)[0]


@pytest.mark.parametrize("kind", ["Q4_K_M", "Q2_K", "Q8_0", "F16"])
def test_the_real_model_is_what_the_dry_run_said(smollm2: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "made.gguf"
    ours(smollm2, target, kind)
    wanted, made = expected(smollm2, kind), read_file(target).header
    assert (made.file_bytes, made.data_offset) == (wanted.file_bytes, wanted.data_offset)
    assert made.tensors == wanted.tensors
    assert made.metadata["general.file_type"] == FILE_TYPES[kind].number


def test_the_real_model_s_q4_k_m_is_six_bits(smollm2: Path) -> None:
    wanted, mixed = quantized(read_file(smollm2).header, "Q4_K_M", has_imatrix=False)
    assert len(mixed.fallbacks) == 180
    assert round(8 * wanted.weights_bytes / wanted.parameters, 2) == 6.17


@pytest.mark.node
@pytest.mark.parametrize("kind", ["Q4_K_M", "Q3_K_L", "BF16"])
def test_the_bytes_are_those_of_the_real_library(smollm2: Path, libllama: Path, tmp_path: Path, kind: str) -> None:
    ours(smollm2, tmp_path / "ours.gguf", kind)
    done = quantize(smollm2, tmp_path / "theirs.gguf", FILE_TYPES[kind].number)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()


@pytest.mark.node
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_s_mixture_is_the_real_library_s(name: str, libllama: Path, tmp_path: Path) -> None:
    source = write(replace(TINY[name], vocabulary=512), tmp_path / "source.gguf")
    for kind in ("Q2_K", "Q3_K_M", "Q4_K_S", "Q5_K_M", "IQ4_XS"):
        target = tmp_path / f"{kind}.gguf"
        done = quantize(source, target, FILE_TYPES[kind].number)
        assert done.returncode == 0, done.stderr
        wanted, made = expected(source, kind), read_file(target).header
        assert made.tensors == wanted.tensors, kind
        assert made.file_bytes == wanted.file_bytes


def an_imatrix(header: GgufHeader, path: Path, *, without: str = "") -> Path:
    """Column sums and counts as llama-imatrix writes them, of every tensor of two dimensions or more."""
    writer = gguf.GGUFWriter(str(path), "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["words.txt"])
    writer.add_uint32("imatrix.chunk_count", 3)
    writer.add_uint32("imatrix.chunk_size", 64)
    chance = np.random.default_rng(5)
    for tensor in header.tensors:
        if len(tensor.dims) > 1 and tensor.name != without:
            matrices = tensor.elements // (tensor.dims[0] * tensor.dims[1])
            sums = chance.random((matrices, tensor.dims[0]), dtype=np.float32) + 0.1
            writer.add_tensor(f"{tensor.name}.in_sum2", sums)
            writer.add_tensor(f"{tensor.name}.counts", np.full((matrices, 1), 3, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", ["IQ2_XS", "Q2_K_S", "IQ3_XXS"])
def test_the_smallest_types_are_made_with_an_importance_matrix(tmp_path: Path, kind: str) -> None:
    source = write(replace(TINY["mixtral"], layers=1, vocabulary=256), tmp_path / "source.gguf")
    imatrix = an_imatrix(read_file(source).header, tmp_path / "imatrix.gguf")
    ours(source, tmp_path / "made.gguf", kind, imatrix=imatrix)
    wanted, made = expected(source, kind, has_imatrix=True), read_file(tmp_path / "made.gguf").header
    assert (made.tensors, made.file_bytes) == (wanted.tensors, wanted.file_bytes)


def test_an_importance_matrix_changes_the_numbers(smollm2: Path, tmp_path: Path) -> None:
    imatrix = an_imatrix(read_file(smollm2).header, tmp_path / "imatrix.gguf")
    ours(smollm2, tmp_path / "with.gguf", "Q5_0", imatrix=imatrix)
    ours(smollm2, tmp_path / "without.gguf", "Q5_0")
    assert (tmp_path / "with.gguf").read_bytes() != (tmp_path / "without.gguf").read_bytes()


@pytest.mark.parametrize("lacking", ["blk.1.attn_q.weight", "another model's"])
def test_an_importance_matrix_of_something_else_is_refused(tmp_path: Path, lacking: str) -> None:
    source = write(TINY["llama-gqa"], tmp_path / "source.gguf")
    other = TINY["llama-gqa"] if lacking.startswith("blk") else replace(TINY["llama-gqa"], embedding=256)
    header = read_file(write(other, tmp_path / "other.gguf")).header
    imatrix = an_imatrix(header, tmp_path / "imatrix.gguf", without=lacking)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        ours(source, tmp_path / "made.gguf", "IQ2_XS", imatrix=imatrix)
    assert b"the importance matrix" in caught.value.stderr


def test_a_type_that_needs_a_matrix_for_some_tensor_is_refused(tmp_path: Path) -> None:
    header = read_file(write(TINY["llama-gqa"], tmp_path / "source.gguf")).header
    with pytest.raises(Terminal, match="needs an importance matrix") as caught:
        quantized(header, "IQ2_M", has_imatrix=False)
    assert caught.value.code == "quantization-impossible"


@pytest.mark.parametrize(("name", "bits"), [("Llama-3.1-8B", 4.89), ("Mixtral-8x7B", 4.87)])
def test_well_known_models_get_their_well_known_bits(tmp_path: Path, name: str, bits: float) -> None:
    """Source: llama.cpp, tools/quantize/README.md (8B), and the files that people share (8x7B)."""
    header = read_file(write(REALISTIC[name], tmp_path / "source.gguf")).header
    wanted, _ = quantized(header, "Q4_K_M", has_imatrix=False)
    assert abs(8 * wanted.weights_bytes / wanted.parameters - bits) < 0.06


def test_rows_that_divide_by_nothing_are_refused_as_the_library_does(tmp_path: Path) -> None:
    shape = Shape("llama", 1, 240, 4, 4, 480, 1000, weight_type="f16")
    header = read_file(write(shape, tmp_path / "a.gguf")).header
    with pytest.raises(Terminal, match="has no fallback"):
        quantized(header, "Q4_0", has_imatrix=False)
    assert quantized(header, "F16", has_imatrix=False)[0].weights_bytes == header.weights_bytes


def test_every_type_of_the_manifest_has_its_row(tmp_path: Path) -> None:
    header = read_file(write(TINY["llama-gqa"], tmp_path / "source.gguf")).header
    sizes = {kind: quantized(header, kind, has_imatrix=True)[0].file_bytes for kind in FILE_TYPES}
    assert sizes["IQ1_S"] < sizes["Q2_K"] < sizes["Q4_K_M"] < sizes["Q6_K"] < sizes["Q8_0"] < sizes["F16"]
    assert sizes["F16"] == sizes["BF16"]
    assert len(WITHOUT_IMATRIX) + sum(kind.needs_imatrix for kind in FILE_TYPES.values()) == len(FILE_TYPES)

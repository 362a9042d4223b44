"""What a Model may not say about building, each fault at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_ctl.errors import ManifestError
from nexus_ctl.manifest.stack import load

HEAD = "apiVersion: nexus/v1\nkind: Model\nmetadata: {name: m}\nspec:\n  source: {url: 'http://x.test/a.gguf'}\n"


@pytest.mark.parametrize(
    ("spec", "told", "line", "column"),
    [
        ("  quantize:\n    type: IQ2_XS\n", "worthless without an importance matrix", 6, 3),
        ("  quantize:\n    type: Q9_K\n", "Q2_K", 7, 11),
        ("  quantize:\n    type: Q4_K_M\n    imatrix: {}\n", "exactly one of path, model", 8, 5),
        ("  quantize:\n    type: Q4_K_M\n    imatrix: {model: lost}\n", 'no Model named "lost"', 8, 22),
        ("  convert: {type: f16}\n", "convert needs source.huggingFace", 4, 1),
    ],
)
def test_each_is_named_where_it_stands(tmp_path: Path, spec: str, told: str, line: int, column: int) -> None:
    (tmp_path / "nexus.yaml").write_text(HEAD + spec)
    with pytest.raises(ManifestError) as caught:
        load([str(tmp_path / "nexus.yaml")])
    (fault,) = caught.value.diagnostics
    assert told in f"{fault.detail} {fault.hint} {fault.summary}"
    assert (fault.location.line, fault.location.column) == (line, column)


ON_THE_HUB = HEAD.replace("{url: 'http://x.test/a.gguf'}", "{huggingFace: {repo: acme/tone}}")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("  convert: {base: lost}\n", 'no Model named "lost"'),
        ("  convert: {base: m}\n", "depend on each other in a circle"),
        ("  convert: {base: m}\n  quantize: {type: Q8_0}\n", "an adapter is not quantized"),
    ],
)
def test_the_base_of_an_adapter_is_another_model(tmp_path: Path, spec: str, told: str) -> None:
    (tmp_path / "nexus.yaml").write_text(ON_THE_HUB + spec)
    with pytest.raises(ManifestError) as caught:
        load([str(tmp_path / "nexus.yaml")])
    assert told in " ".join(f"{fault.detail} {fault.summary}" for fault in caught.value.diagnostics)

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

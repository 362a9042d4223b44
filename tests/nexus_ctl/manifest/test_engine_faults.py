"""What an engine finds wrong is reported with all other faults, at its place; what it only doubts is a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_ctl.manifest.stack import load

HEAD = """\
apiVersion: nexus/v1
kind: Model
metadata: {name: m}
spec: {source: {url: "https://example.org/m.gguf"}}
---
apiVersion: nexus/v1
kind: Deployment
metadata: {name: d}
spec:
  model: m
"""


@pytest.mark.parametrize(
    ("body", "code", "line", "column"),
    [
        ("  engine: {llamaCpp: {args: {tools: all}}}\n", "risky-flag", 11, 30),
        ("  engine: {llamaCpp: {contextSize: 1000, parallel: 3}}\n", "uneven-slots", 11, 36),
        (
            "  engine: {llamaCpp: {contextSize: 4096, embeddings: {enabled: true}}}\n",
            "embedding-over-ubatch",
            11,
            64,
        ),
        (
            "  engine: {llamaCpp: {threads: {generation: 8}}}\n  resources: {cpu: 2}\n",
            "more-threads-than-cores",
            11,
            45,
        ),
    ],
)
def test_a_doubt_is_a_warning_at_its_place(tmp_path: Path, body: str, code: str, line: int, column: int) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(HEAD + body)
    (warning,) = load([str(file)]).warnings
    assert (warning.severity, warning.code) == ("warning", code)
    assert (warning.location.line, warning.location.column) == (line, column)

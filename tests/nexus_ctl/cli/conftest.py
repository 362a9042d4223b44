"""A workspace of a small stack, and the command line over a world of fakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.workspace import CommandLine
from tests.fakes.world import FakeWorld

DEMO = """\
apiVersion: nexus/v1
kind: Stack
metadata: {name: demo}
---
apiVersion: nexus/v1
kind: Model
metadata: {name: smol}
spec: {source: {url: "http://models.test/smol.gguf"}}
---
apiVersion: nexus/v1
kind: Deployment
metadata: {name: chat, labels: {tier: front}}
spec: {model: smol, engine: {llamaCpp: {contextSize: 2048}}}
---
apiVersion: nexus/v1
kind: Preset
metadata: {name: precise}
spec: {sampling: {temperature: 0.7}}
---
apiVersion: nexus/v1
kind: Route
metadata: {name: chat}
spec: {backends: [{deployment: chat}], preset: precise, aliases: [default]}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write nexus.yaml (the demo, with replacements) into the working directory."""
    monkeypatch.chdir(tmp_path)

    def _write(text: str = DEMO, **changes: str) -> Path:
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "nexus.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    _write()
    return _write


@pytest.fixture
def nexusctl(write: Callable[..., Path], tmp_path: Path) -> CommandLine:
    """The command line in a workspace that declares the demo."""
    return CommandLine(FakeWorld(), tmp_path)

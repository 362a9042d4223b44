"""A working directory of its own for every test: no `nexus.yaml` above it, no environment variable set."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from nexus_ctl.errors import Diagnostic, ManifestError
from nexus_ctl.manifest.stack import load
from nexus_ctl.resources.declared import Stack

Write = Callable[[str, str], Path]
Load = Callable[..., Stack]
Faults = Callable[..., list[Diagnostic]]


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(workspace: Path) -> Write:
    """Write a file of the working directory; folders are made, the text is dedented."""

    def _write(name: str, text: str) -> Path:
        path = workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return _write


@pytest.fixture
def load_text() -> Load:
    """Load one manifest text from standard input."""

    def _load(text: str, environ: Mapping[str, str] | None = None) -> Stack:
        return load(["-"], stdin=io.StringIO(textwrap.dedent(text)), environ=environ or {})

    return _load


@pytest.fixture
def faults_of(load_text: Load) -> Faults:
    """The diagnostics of one manifest text that does not load."""

    def _faults(text: str, environ: Mapping[str, str] | None = None) -> list[Diagnostic]:
        with pytest.raises(ManifestError) as caught:
            load_text(text, environ)
        return list(caught.value.diagnostics)

    return _faults

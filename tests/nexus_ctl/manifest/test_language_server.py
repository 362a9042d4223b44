"""What people see in their editor: the real YAML language server reads our modelines and schemas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.language_server import ROOT, SERVER, LanguageServer, language_server

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not SERVER.exists(), reason="npm install --prefix .npm yaml-language-server"),
]

EXAMPLES = sorted([*(ROOT / "examples").rglob("*.yaml"), ROOT / "nexus.yaml"])
DEPLOYMENT = ROOT / "examples" / "deployment" / "minimal.yaml"


@pytest.fixture(scope="module")
def server() -> Iterator[LanguageServer]:
    with language_server() as running:
        yield running


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_editor_has_nothing_to_say_about_an_example(server: LanguageServer, path: Path) -> None:
    assert server.diagnostics(path) == []


@pytest.mark.parametrize(
    ("good", "bad", "line_text"),
    [
        ("contextSize", "contextsize", "contextsize"),
        ("contextSize: 2048", "contextSize: many", "many"),
        ("kind: Deployment", "kind: Deploymint", "Deploymint"),
        ("  model: smollm2\n", "", "spec:"),
    ],
)
def test_an_editor_marks_a_planted_fault(server: LanguageServer, good: str, bad: str, line_text: str) -> None:
    text = DEPLOYMENT.read_text(encoding="utf-8").replace(good, bad)
    lines = text.split("\n")
    found = server.diagnostics(DEPLOYMENT, text)
    assert any(line_text in lines[one["range"]["start"]["line"]] for one in found)


def test_hovering_tells_default_and_effect(server: LanguageServer) -> None:
    lines = DEPLOYMENT.read_text(encoding="utf-8").split("\n")
    line = next(at for at, text in enumerate(lines) if "contextSize" in text)
    shown = server.hover(DEPLOYMENT, line, lines[line].index("contextSize") + 2)
    assert "Tokens of context" in shown
    assert "needs a new replica" in shown

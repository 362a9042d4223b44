"""What an engine finds wrong is reported with all other faults, at its place; what it only doubts is a warning."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from nexus_ctl.manifest.codes import SUMMARIES
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
        (
            "  engine: {llamaCpp: {parallel: 3, embeddings: {enabled: true}, batching: {ubatchSize: 512}}}\n",
            "batch-does-not-divide",
            11,
            88,
        ),
        ("  engine: {llamaCpp: {args: {grammar-file: /g.gbnf}}}\n", "path-not-mounted", 11, 30),
        ("  engine: {llamaCpp: {file: m.gguf}}\n", "no-effect", 11, 29),
        ("  engine: {llamaCpp: {draft: {model: m, file: m.gguf}}}\n", "no-effect", 11, 47),
        ("  engine: {llamaCpp: {adapters: [{model: m}, {model: m, file: m.gguf}]}}\n", "no-effect", 11, 63),
        ("  engine: {llamaCpp: {batching: {keep: 5}}}\n", "no-effect", 11, 40),
        ("  engine: {vllm: {}}\n", "no-gpu", 9, 1),
        (
            "  engine: {llamaCpp: {gpu: {splitMode: row}}}\n  resources: {gpus: {count: 2}}\n",
            "memory-is-a-guess",
            12,
            15,
        ),
        ("  engine: {custom: {command: [serve]}}\n", "port-not-used", 11, 21),
    ],
)
def test_a_doubt_is_a_warning_at_its_place(tmp_path: Path, body: str, code: str, line: int, column: int) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(HEAD + body)
    (warning,) = load([str(file)]).warnings
    assert (warning.severity, warning.code) == ("warning", code)
    assert (warning.location.line, warning.location.column) == (line, column)


ROUTE = """\
---
apiVersion: nexus/v1
kind: Deployment
metadata: {name: words}
spec:
  model: m
  engine: {llamaCpp: {}}
---
apiVersion: nexus/v1
kind: Preset
metadata: {name: p}
spec: {}
---
apiVersion: nexus/v1
kind: Route
metadata: {name: r}
spec:
"""


@pytest.mark.parametrize(
    ("engine", "route", "expected"),
    [
        ("embeddings: {enabled: true}", "  backends: [{deployment: d}]\n  preset: p\n", [(29, 27)]),
        ("reranking: {enabled: true}", "  backends: [{deployment: words}, {deployment: d}]\n", [(29, 48)]),
        ("embeddings: {enabled: true}", "  backends: [{deployment: d}]\n", []),
        ("warmup: true", "  backends: [{deployment: words}, {deployment: d}]\n  preset: p\n", []),
    ],
)
def test_a_route_for_conversations_leads_to_no_vectors(
    tmp_path: Path, engine: str, route: str, expected: list[tuple[int, int]]
) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(HEAD + f"  engine: {{llamaCpp: {{{engine}}}}}\n" + ROUTE + route)
    warnings = load([str(file)]).warnings
    assert {warning.code for warning in warnings} <= {"chat-to-vectors"}
    assert [(one.location.line, one.location.column) for one in warnings] == expected


def test_what_a_field_wants_of_a_hub_repository_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    hub = HEAD.replace('{url: "https://example.org/m.gguf"}', "{huggingFace: {repo: a/b}}")
    file.write_text(hub + "  engine: {llamaCpp: {file: '*Q4*.gguf', projector: {model: m, file: mmproj*}}}\n")
    assert load([str(file)]).warnings == ()


def test_every_fault_of_an_engine_has_a_summary() -> None:
    sources = (Path(__file__).parents[3] / "nexus_ctl/engines").rglob("*.py")
    calls = [node for file in sources for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    faults = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Fault"]
    given = {call.args[1].value for call in faults if len(call.args) > 1 and isinstance(call.args[1], ast.Constant)}
    assert {"port-not-used", "risky-flag"} <= given
    assert sorted(given - SUMMARIES.keys()) == []

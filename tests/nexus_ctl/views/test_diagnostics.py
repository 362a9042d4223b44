from __future__ import annotations

from nexus_ctl.errors import Diagnostic, Location
from nexus_ctl.views.diagnostics import render, to_json

DANGLING = Diagnostic(
    code="unknown-ref",
    summary="a reference names something that is not declared",
    location=Location("nexus.yaml", 14, 10),
    path="spec.model",
    detail='no Model named "llama-8b" in this stack',
    hint='did you mean "llama-3-8b"?',
    source_line="  model: llama-8b",
    span=8,
)


def test_a_fault_reads_like_a_compilers() -> None:
    assert render([DANGLING]) == (
        "error[unknown-ref]: a reference names something that is not declared\n"
        "  --> nexus.yaml:14:10  spec.model\n"
        "14 |   model: llama-8b\n"
        '   |          ^^^^^^^^ no Model named "llama-8b" in this stack\n'
        'hint: did you mean "llama-3-8b"?\n'
    )


def test_no_fault_is_no_text() -> None:
    assert render([]) == ""


def test_faults_are_parted_by_a_blank_line_and_a_warning_says_so() -> None:
    warning = Diagnostic("ignored-status", "ignored", Location("a", 1, 1), severity="warning", source_line="status: 1")
    assert render([DANGLING, warning]).split("\n\n")[1] == (
        "warning[ignored-status]: ignored\n  --> a:1:1\n1 | status: 1\n  | ^\n"
    )


def test_without_a_source_line_the_detail_still_stands() -> None:
    bare = Diagnostic("not-utf8", "must be UTF-8", Location("a", 3, 7), detail="byte 0xe9")
    assert render([bare]) == "error[not-utf8]: must be UTF-8\n  --> a:3:7\n   | byte 0xe9\n"


def test_a_long_line_is_cut_around_the_caret() -> None:
    line = "k: " + "x" * 500 + "!" + "y" * 500
    text = render([Diagnostic("c", "s", Location("a", 1, 504), source_line=line)])
    excerpt, caret = text.split("\n")[2:4]
    assert len(excerpt) <= 110
    assert excerpt[caret.index("^")] == "!"
    assert excerpt.startswith("1 | …")
    assert excerpt.endswith("…")


def test_the_caret_stands_under_wide_characters_and_tabs() -> None:
    text = render([Diagnostic("c", "s", Location("a", 1, 4), source_line="模型\t: x", span=1)])
    excerpt, caret = text.split("\n")[2:4]
    assert excerpt == "1 | 模型 : x"
    assert caret == "  | " + " " * 5 + "^"


def test_nothing_a_terminal_would_obey_gets_through() -> None:
    evil = "\x1b[2J\x9b31m\u202e"
    fault = Diagnostic("c", "s", Location(evil, 1, 1), evil, evil, evil, evil)
    assert render([fault]).replace("\n", "").isprintable()


def test_a_command_to_copy_stands_alone_on_its_line() -> None:
    fault = Diagnostic("c", "s", Location("a", 1, 1), hint="write one with:\nnexusctl init")
    assert render([fault]).split("\n")[-2] == "nexusctl init"


def test_colour_is_the_callers() -> None:
    text = render([DANGLING], style=lambda role, text: f"<{role}>{text}</>")
    assert text.startswith("<error>error[unknown-ref]</>: ")
    assert '<caret>^^^^^^^^ no Model named "llama-8b" in this stack</>' in text
    assert "<hint>hint</>: " in text


def test_json_has_stable_keys() -> None:
    assert to_json([DANGLING]) == [
        {
            "severity": "error",
            "code": "unknown-ref",
            "summary": "a reference names something that is not declared",
            "detail": 'no Model named "llama-8b" in this stack',
            "hint": 'did you mean "llama-3-8b"?',
            "path": "spec.model",
            "file": "nexus.yaml",
            "line": 14,
            "column": 10,
            "span": 8,
        }
    ]

"""Undocumented means failing: every stable word of the code is described where people look it up.

The words are read from the code itself, so a new one fails here until its page says what it means. What commands,
kinds and fields mean is generated, and tested beside its generator.
"""

from __future__ import annotations

import inspect

import pytest

from api.gateway.openai import OPERATIONS
from nexus_ctl import errors
from nexus_ctl.cli.main import EXIT_CODES
from nexus_ctl.manifest.codes import SUMMARIES
from nexus_ctl.planning.change import SYMBOLS
from nexus_ctl.planning.plan import Plan
from nexus_ctl.resources.envelope import ANNOTATIONS
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.routing import STATUS_PATH
from nexus_ctl.views.plan import to_json
from tests.docs.pages import ROOT, described, text
from tests.docs.source import words_given

DOCS = ROOT / "docs"
PLAN, TROUBLE, GATEWAY = DOCS / "plan.md", DOCS / "troubleshooting.md", DOCS / "gateway.md"
REASONS = words_given("Reason", "nexus_ctl", "controllers")
GATEWAY_ERRORS = words_given("GatewayError", "api", keyword="code")


def _error_codes() -> set[str]:
    classes = {cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.NexusError)}
    of_ports = words_given("", "nexus_ctl", "controllers", keyword="code")
    return {cls.code for cls in classes} | of_ports | set(SUMMARIES)


def test_every_reason_code_is_described() -> None:
    assert {"not_found", "model_files_changed", "drift_exited", "insufficient_memory"} <= REASONS
    assert sorted(REASONS - described(PLAN)) == []


def test_every_error_code_has_a_way_out() -> None:
    codes = _error_codes()
    assert {"manifest", "unknown-ref", "out-of-memory", "store-damaged", "unknown-flag", "unowned-exists"} <= codes
    assert sorted(codes - described(TROUBLE) - {"manifest"}) == []
    assert "`manifest`" in text(TROUBLE)


def test_every_fault_of_an_engine_has_a_summary() -> None:
    codes = words_given("Fault", "nexus_ctl", position=1)
    assert {"no-gpu", "draft-min-over-max", "file-says-otherwise"} <= codes
    assert sorted(codes - SUMMARIES.keys()) == []


def test_no_way_out_is_for_a_code_that_is_gone() -> None:
    kebab = {word for word in described(TROUBLE) if word.replace("-", "").isalpha() and word.islower()}
    assert sorted(kebab - _error_codes()) == []


def test_every_error_of_the_gateway_is_described() -> None:
    assert {"model_not_found", "engine_failed", "not_ready"} <= GATEWAY_ERRORS
    assert sorted(code for code in GATEWAY_ERRORS if f"`{code}`" not in text(GATEWAY)) == []


def test_every_endpoint_of_the_gateway_is_described() -> None:
    own = ["/v1/models", "/health", "/ready", "/metrics", STATUS_PATH]
    assert [path for path in [*own, *(op.decode() for op in OPERATIONS)] if path not in text(GATEWAY)] == []


@pytest.mark.parametrize("verb", SYMBOLS, ids=str)
def test_every_symbol_of_a_plan_is_described(verb: str) -> None:
    rows = [line for line in text(PLAN).splitlines() if line.startswith("|") and f"`{verb}`" in line]
    symbol = SYMBOLS[verb].strip()  # type: ignore[index]  # a StrEnum's members are its texts
    assert any(line.startswith(f"| `{symbol}` |" if symbol else "| (none) |") for line in rows)


def test_every_exit_code_is_described() -> None:
    rows = text(PLAN).splitlines()
    assert [code for code in {0, *EXIT_CODES.values()} if not any(row.startswith(f"| {code} |") for row in rows)] == []


def test_every_key_of_a_plan_as_json_is_described() -> None:
    section = text(PLAN).partition("## The JSON form")[2]
    assert [key for key in to_json(Plan("s", "i", (), ())) if f"`{key}" not in section] == []


def test_every_label_is_described() -> None:
    labels = Ownership("i", "s", "k", "n", 0, "h", "{}", 1, "m", "d", "x", "p", version="v").labels()
    runtimes = text(DOCS / "runtimes.md")
    assert [label for label in labels if f"`{label.removeprefix('nexusctl/')}`" not in runtimes] == []


def test_every_annotation_is_described() -> None:
    assert sorted(set(ANNOTATIONS) - described(DOCS / "manifests.md")) == []

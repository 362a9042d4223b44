"""The corpus of broken manifests: each file names the faults it has, in its first lines, and has no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nexus_ctl.errors import ManifestError
from nexus_ctl.manifest.codes import SUMMARIES
from nexus_ctl.manifest.stack import load
from nexus_ctl.views.diagnostics import render

CORPUS = sorted((Path(__file__).parents[2] / "data" / "broken").glob("*.yaml"))
EXPECT = re.compile(rb"# expect: (\S+) (\d+):(\d+)\n")
SEEN_ELSEWHERE = {"file-too-large", "too-many-documents", "fixed-by-base", "ignored-status"}
SEEN_ELSEWHERE |= {"risky-flag", "uneven-slots", "embedding-over-ubatch", "more-threads-than-cores"}
SEEN_ELSEWHERE |= {"batch-does-not-divide", "no-gpu", "port-not-used", "path-not-mounted", "chat-to-vectors"}
SEEN_ELSEWHERE |= {"file-says-otherwise", "memory-is-a-guess"}
SEEN_ELSEWHERE |= {"bad-lock", "lock-version", "lock-contradicted", "not-locked"}
"""Need a large file, a second file, or are only a warning: tested beside the code."""


def expected(path: Path) -> list[tuple[str, int, int]]:
    found = EXPECT.findall(path.read_bytes())
    return [(code.decode(), int(line), int(column)) for code, line, column in found]


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_every_fault_is_found_at_its_line_and_column(path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load([str(path)], environ={})
    faults = caught.value.diagnostics
    assert [(one.code, one.location.line, one.location.column) for one in faults] == expected(path)
    assert all(one.summary == SUMMARIES[one.code] for one in faults)
    assert all(f"{one.location}" in render(faults) for one in faults)


def test_the_corpus_is_large_and_holds_every_code() -> None:
    assert len(CORPUS) >= 100
    assert {code for path in CORPUS for code, _, _ in expected(path)} == SUMMARIES.keys() - SEEN_ELSEWHERE

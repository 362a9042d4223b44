"""The lifecycle machine: its steps, its storage form, and that an illegal step does not type-check."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from mypy import api as mypy

from nexus_ctl.resources.lifecycle import Ready, Unknown, markdown, parse, steps, walk

NAMES = sorted({step.before for step in steps()} | {step.after for step in steps()})
WORK = {"DOWNLOADING", "CONVERTING", "QUANTIZING", "LOADING"}
DOCS = Path(__file__).parents[3] / "docs" / "lifecycle.md"


def test_the_happy_path() -> None:
    ready = Unknown.first().download().finish().load().finish()
    assert isinstance(ready, Ready)
    assert [str(ready), str(ready.unload()), str(ready.unload().finish())] == ["READY", "UNLOADING", "STOPPED"]


def test_the_whole_machine() -> None:
    assert [f"{step.before} {step.verb} {step.after}" for step in steps()] == [
        "UNKNOWN download DOWNLOADING",
        "DOWNLOADING finish DOWNLOADED",
        "DOWNLOADING fail FAILED:DOWNLOADING",
        "DOWNLOADED convert CONVERTING",
        "DOWNLOADED quantize QUANTIZING",
        "DOWNLOADED load LOADING",
        "DOWNLOADED download DOWNLOADING",
        "CONVERTING finish DOWNLOADED",
        "CONVERTING fail FAILED:BUILDING",
        "QUANTIZING finish DOWNLOADED",
        "QUANTIZING fail FAILED:BUILDING",
        "LOADING finish READY",
        "LOADING fail FAILED:LOADING",
        "LOADING unload UNLOADING",
        "READY unload UNLOADING",
        "READY load LOADING",
        "UNLOADING finish STOPPED",
        "STOPPED load LOADING",
        "STOPPED download DOWNLOADING",
        "FAILED:DOWNLOADING download DOWNLOADING",
        "FAILED:BUILDING download DOWNLOADING",
        "FAILED:BUILDING convert CONVERTING",
        "FAILED:BUILDING quantize QUANTIZING",
        "FAILED:LOADING load LOADING",
        "FAILED:LOADING download DOWNLOADING",
        "FAILED:LOADING unload UNLOADING",
    ]


def test_every_step_does_what_the_table_says() -> None:
    for step in steps():
        assert str(getattr(parse(step.before), step.verb)()) == step.after


def test_only_work_can_fail() -> None:
    assert {step.before for step in steps() if step.after.startswith("FAILED")} == WORK


@pytest.mark.parametrize("name", NAMES)
def test_storage_form(name: str) -> None:
    state = parse(name)
    assert str(state) == name
    assert state == parse(name)
    assert state.word == name.split(":", maxsplit=1)[0]


def test_an_unknown_word_is_refused() -> None:
    assert str(parse("")) == "UNKNOWN"
    with pytest.raises(ValueError, match="not a lifecycle state: 'SLEEPING'"):
        parse("SLEEPING")


def test_walk_goes_only_along_legal_steps() -> None:
    legal = {(step.before, step.after) for step in steps()}
    for start in NAMES:
        for goal in NAMES:
            if goal == "UNKNOWN" != start:
                with pytest.raises(ValueError, match="no legal way"):
                    walk(parse(start), goal)
                continue
            way = [start, *map(str, walk(parse(start), goal))]
            assert way[-1] == goal
            assert all(pair in legal for pair in itertools.pairwise(way))


def test_walk_from_a_lost_store_to_a_running_replica() -> None:
    assert [str(state) for state in walk(Unknown.first(), "READY")] == ["DOWNLOADING", "DOWNLOADED", "LOADING", "READY"]
    assert walk(parse("READY"), "READY") == ()


def test_a_state_cannot_be_made_out_of_thin_air() -> None:
    with pytest.raises(TypeError, match="_seal"):
        Ready()  # type: ignore[call-arg]


def test_the_type_checker_finds_illegal_steps(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(
        "from nexus_ctl.resources.lifecycle import DownloadFailed, Ready, Unknown\n"
        "Unknown.first().download().finish().load()\n"
        "Unknown.first().load()\n"
        "Unknown.first().download().finish().fail()\n"
        "Ready()\n"
        "def retry(state: DownloadFailed) -> None:\n"
        "    state.download()\n"
        "    state.load()\n"
    )
    output, _, status = mypy.run(
        [
            "--config-file=",
            "--strict",
            "--follow-imports=silent",
            "--no-error-summary",
            "--no-color-output",
            f"--cache-dir={tmp_path}/cache",
            str(snippet),
        ]
    )
    faults = [(int(line.split(":")[1]), line.rsplit("[", 1)[1]) for line in output.splitlines() if ": error:" in line]
    assert status == 1
    assert faults == [(3, "attr-defined]"), (4, "attr-defined]"), (5, "call-arg]"), (8, "attr-defined]")], output


def test_the_documented_table_is_fresh() -> None:
    assert markdown() in DOCS.read_text()

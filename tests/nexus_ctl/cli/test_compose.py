"""The composition root on this machine: what it opens, when, and where."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nexus_ctl.cli.compose import LocalWorkspace, available_memory
from nexus_ctl.cli.usage import measure
from nexus_ctl.clock import SystemClock
from nexus_ctl.resources.secret import ValueFrom
from tests.builders import a_stack


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[LocalWorkspace]:
    stack = replace(
        a_stack(runtime={"driver": "process"}, modelCache={"path": str(tmp_path / "cache")}), base_dir=str(tmp_path)
    )
    with LocalWorkspace(stack, "nexusctl test", {**os.environ, "TOKEN": "s3cret-value"}) as opened:
        yield opened


def test_nothing_is_opened_before_it_is_asked_for(workspace: LocalWorkspace, tmp_path: Path) -> None:
    assert workspace.gateway_url == "http://127.0.0.1:8600"
    assert not (tmp_path / ".nexus").exists()
    assert workspace.store.revision() == 0
    assert (tmp_path / ".nexus" / ".gitignore").read_text() == "*\n"
    assert not (tmp_path / ".nexus" / "instance").exists()


def test_a_session_knows_set_instance_and_runtime(workspace: LocalWorkspace, tmp_path: Path) -> None:
    session = workspace.session
    assert session.scene.instance == (tmp_path / ".nexus" / "instance").read_text().strip()
    assert (session.scene.set, session.command) == ("demo", "nexusctl test")
    assert workspace.note == "process (declared)"
    assert session.world.runtime.list() == ()
    assert session.world.runtime.capabilities().driver == "process"
    assert session.scene.table_path == str(tmp_path / ".nexus" / "gateway" / "demo.json")


def test_a_secret_that_was_read_leaves_every_text(workspace: LocalWorkspace) -> None:
    world = workspace.session.world
    assert world.redact("it is s3cret-value") == "it is s3cret-value"
    assert world.secret(ValueFrom(env="TOKEN")) == "s3cret-value"
    assert world.redact("it is s3cret-value") == "it is ***"


def test_a_damaged_database_is_told(
    tmp_path: Path, workspace: LocalWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".nexus").mkdir()
    (tmp_path / ".nexus" / "state.db").write_bytes(b"no database at all" * 100)
    assert workspace.store.revision() == 0
    assert capsys.readouterr().err.startswith("warning: the state database was damaged")


def test_available_memory(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    assert available_memory(tmp_path / "meminfo") == 2048 * 1024
    assert available_memory(tmp_path / "missing") is None


def test_usage_of_a_process_that_is_there_and_of_one_that_is_not() -> None:
    found = measure([os.getpid(), 2**22 + 1], 0.01, SystemClock())
    assert found.keys() == {os.getpid()}
    assert found[os.getpid()].rss_bytes > 2**20

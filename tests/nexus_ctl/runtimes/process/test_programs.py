"""Which program a name means: the configured one, the one on PATH, the stand-in; and none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nexus_ctl.errors import Terminal
from nexus_ctl.runtimes.process.programs import GATEWAY, STAND_IN, default_programs, resolve


@pytest.fixture
def llama_server(tmp_path: Path) -> Path:
    program = tmp_path / "bin" / "llama-server"
    program.parent.mkdir()
    program.touch(mode=0o755)
    return program


def test_without_a_binary_the_stand_in_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert default_programs() == {"llama-server": STAND_IN, "nexus-gateway": GATEWAY}
    argv = ("llama-server", "--port", "1")
    assert resolve(argv, default_programs()) == (sys.executable, *STAND_IN[1:], "--port", "1")


def test_a_binary_on_path_comes_before_the_stand_in(monkeypatch: pytest.MonkeyPatch, llama_server: Path) -> None:
    monkeypatch.setenv("PATH", str(llama_server.parent))
    assert resolve(("llama-server", "-v"), default_programs()) == (str(llama_server), "-v")


def test_a_configured_binary_comes_first(monkeypatch: pytest.MonkeyPatch, llama_server: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(llama_server.parent))
    other = tmp_path / "mine"
    other.touch(mode=0o755)
    assert resolve(("llama-server",), default_programs(str(other))) == (str(other),)


def test_a_configured_binary_that_is_missing_is_an_error_not_another_program(llama_server: Path) -> None:
    with pytest.raises(Terminal, match="/no/such/llama-server"):
        resolve(("llama-server",), default_programs("/no/such/llama-server"))


def test_any_other_name_is_looked_up_on_path(monkeypatch: pytest.MonkeyPatch, llama_server: Path) -> None:
    monkeypatch.setenv("PATH", str(llama_server.parent))
    assert resolve(("llama-server", "x"), {}) == (str(llama_server), "x")
    with pytest.raises(Terminal, match="no-such-thing"):
        resolve(("no-such-thing",), {})

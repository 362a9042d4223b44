"""Which runtime, and why; and that `auto` does not change its mind."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_ctl.errors import Conflict, UsageError
from nexus_ctl.resources.launch import LaunchSpec
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Replica
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from nexus_ctl.runtimes.table import Choice, open_runtime
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import FakeRuntime
from tests.fixtures.private_engine import Engine

PROCESSES = FakeRuntime(FakeClock())


def choose(wanted: str, state_dir: Path) -> Choice:
    return open_runtime(wanted, state_dir, "install-1", lambda: PROCESSES)


@pytest.fixture
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"unix://{tmp_path}/none.sock"
    monkeypatch.setenv("DOCKER_HOST", url)
    return url


@pytest.mark.usefixtures("sockets_left_by_the_sdk")
def test_declared_is_declared(tmp_path: Path, no_engine: str) -> None:
    assert choose("process", tmp_path) == Choice(PROCESSES, None, "process", "declared")
    found = choose("docker", tmp_path)
    assert isinstance(found.runtime, DockerRuntime)
    assert (found.driver, found.why, found.runtime.url) == ("docker", "declared", no_engine)
    assert (tmp_path / "runtime").read_text() == "docker\n"


@pytest.mark.usefixtures("no_engine", "sockets_left_by_the_sdk")
def test_another_driver_is_refused_while_replicas_are_left_on_the_one_before(tmp_path: Path) -> None:
    processes = FakeRuntime(FakeClock())
    open_runtime("process", tmp_path, "install-1", lambda: processes)
    owner = Ownership("install-1", "s", "Deployment", "chat", 0, "v1:0", "{}")
    processes.create(Replica("s-chat-0-1", owner, LaunchSpec(("tiny",))))
    with pytest.raises(Conflict, match="s-chat-0-1 run on process") as refused:
        open_runtime("docker", tmp_path, "install-1", lambda: processes)
    assert "nexusctl delete" in refused.value.hint
    processes.remove("s-chat-0-1")
    assert open_runtime("docker", tmp_path, "install-1", lambda: processes).driver == "docker"


@pytest.mark.usefixtures("sockets_left_by_the_sdk")
def test_without_an_engine_auto_is_process(tmp_path: Path, no_engine: str) -> None:
    assert choose("auto", tmp_path) == Choice(
        PROCESSES, None, "process", f"auto: no Docker engine answers at {no_engine}"
    )


def test_an_engine_elsewhere_is_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.7:2375")
    found = choose("auto", tmp_path)
    assert found.driver == "process"
    assert "another machine" in found.why
    with pytest.raises(UsageError):
        choose("docker", tmp_path)


@pytest.mark.docker
@pytest.mark.usefixtures("sockets_left_by_the_sdk")
def test_auto_takes_docker_and_stays_with_it(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    found = choose("auto", tmp_path)
    assert (found.driver, found.why) == ("docker", f"auto: the Docker engine at {engine.url} answers")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    again = choose("auto", tmp_path)
    assert again.driver == "docker"
    assert "as before" in again.why
    (tmp_path / "runtime").unlink()
    assert choose("auto", tmp_path).driver == "process"


@pytest.mark.usefixtures("sockets_left_by_the_sdk")
def test_looking_writes_nothing_where_there_is_no_state(tmp_path: Path, no_engine: str) -> None:
    assert choose("auto", tmp_path / "none").driver == "process"
    assert not (tmp_path / "none").exists()

"""Engines of this machine at other addresses, for real: TCP with TLS, and ssh."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_ctl.errors import Conflict, RuntimeUnreachable, UsageError
from nexus_ctl.resources.replica import ReplicaState
from nexus_ctl.runtimes.docker import connection, ssh
from nexus_ctl.runtimes.docker.address import find
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from nexus_ctl.runtimes.port import Runtime
from nexus_ctl.runtimes.table import open_runtime
from tests.fixtures.certificates import Authority
from tests.fixtures.private_engine import Engine, spare_engine
from tests.fixtures.ssh_server import ssh_server
from tests.nexus_ctl.runtimes.docker.conftest import MakeReplica

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("sockets_left_by_the_sdk")]

PORT = 23760


def no_processes() -> Runtime:
    raise AssertionError("nobody asks for processes")


def lives(runtime: DockerRuntime, replica: MakeReplica) -> None:
    """A whole life of a replica, with everything that keeps a connection open."""
    one = replica()
    runtime.create(one)
    watch = runtime.watch()
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.extend(runtime.logs(one.name, follow=True)))
    try:
        runtime.start(one.name, {})
        reader.start()
        assert [found.state for found in runtime.list()] == [ReplicaState.RUNNING]
        runtime.stop(one.name, 10)
        reader.join(60)
        assert not reader.is_alive(), "a follow ends with the replica"
        runtime.remove(one.name)
        assert runtime.list() == ()
    finally:
        watch.close()


# TLS


@pytest.fixture
def by_tls(engine: Engine, tmp_path: Path) -> Iterator[Authority]:
    """The engine listens on TCP too, and takes only clients with a certificate of this authority."""
    authority = Authority(tmp_path / "ca")
    server = authority.issue("server", "DNS:localhost,IP:127.0.0.1", "serverAuth")
    files = {"tlscacert": server / "ca.pem", "tlscert": server / "cert.pem", "tlskey": server / "key.pem"}
    hosts = [engine.url, f"tcp://127.0.0.1:{PORT}"]
    engine.configure(hosts=hosts, tlsverify=True, **{name: str(path) for name, path in files.items()})
    engine.restart()
    yield authority
    engine.configure()
    engine.restart()


def test_an_engine_behind_tls(
    by_tls: Authority, replica: MakeReplica, instance: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://localhost:{PORT}")
    with pytest.raises(RuntimeUnreachable) as plain:
        connection.connect(find())
    assert "DOCKER_TLS_VERIFY=1" in plain.value.hint
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    stranger = Authority(tmp_path / "other").issue("stranger", "DNS:x", "clientAuth")
    (stranger / "ca.pem").write_bytes(by_tls.certificate.read_bytes())
    monkeypatch.setenv("DOCKER_CERT_PATH", str(stranger))
    with pytest.raises(RuntimeUnreachable) as refused:
        connection.connect(find())
    assert "DOCKER_CERT_PATH" in refused.value.hint
    monkeypatch.setenv("DOCKER_CERT_PATH", str(by_tls.issue("client", "DNS:x", "clientAuth")))
    runtime = DockerRuntime(instance)
    lives(runtime, replica)
    runtime.close()


# ssh


@pytest.fixture
def by_ssh(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`ssh://` address of a real ssh server of this machine, on which `docker` reaches the engine."""
    with ssh_server(tmp_path, engine.url) as (url, client):
        monkeypatch.setenv("PATH", f"{client}{os.pathsep}{os.environ['PATH']}")
        yield url


def test_an_engine_behind_ssh(by_ssh: str, replica: MakeReplica, instance: str) -> None:
    runtime = DockerRuntime(instance, by_ssh)
    lives(runtime, replica)
    runtime.close()


def test_docker_and_we_are_of_one_mind_about_ssh(by_ssh: str, engine: Engine) -> None:
    said = subprocess.run(
        ["docker", "--host", by_ssh, "info", "--format", "{{.ID}}"], capture_output=True, text=True, check=True
    ).stdout
    runtime = DockerRuntime("install", by_ssh)
    assert runtime.identity() == DockerRuntime("install", engine.url).identity()
    assert runtime.identity().startswith(said.strip())
    runtime.close()


def test_another_machine_behind_ssh_is_refused(by_ssh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "this_boot", lambda: "another boot")
    with pytest.raises(UsageError, match="on another machine"):
        connection.connect(find(by_ssh))
    assert not connection.answers(find(by_ssh))


def test_ssh_that_does_not_get_there_says_why(by_ssh: str) -> None:
    host, _, _ = by_ssh.rpartition(":")
    with pytest.raises(RuntimeUnreachable, match="Connection refused") as refused:
        connection.connect(find(f"{host}:1"))
    assert "docker version" in refused.value.hint


# another engine than before


def test_another_engine_is_refused_while_replicas_are_left_on_the_one_before(
    tmp_path: Path, engine: Engine, runtime: DockerRuntime, replica: MakeReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened() -> None:
        chosen = open_runtime("docker", tmp_path, runtime.instance, no_processes).runtime
        assert isinstance(chosen, DockerRuntime)
        chosen.close()

    one = replica()
    runtime.create(one)
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    opened()
    assert (tmp_path / "runtime").read_text() == f"docker\n{engine.url}\n{runtime.identity()}\n"
    (tmp_path / "link.sock").symlink_to(engine.url.removeprefix("unix://"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/link.sock")
    opened()  # the same engine by another address
    with spare_engine() as other:
        monkeypatch.setenv("DOCKER_HOST", other.url)
        with pytest.raises(Conflict, match=f"{one.name} run on the one at unix://{tmp_path}/link.sock"):
            opened()
        (tmp_path / "link.sock").unlink()
        with pytest.raises(Conflict, match="whether replicas are left over there cannot be seen") as unseen:
            opened()
        assert f"rm {tmp_path}/runtime" in unseen.value.hint
        (tmp_path / "link.sock").symlink_to(engine.url.removeprefix("unix://"))
        runtime.remove(one.name)
        opened()
        assert other.url in (tmp_path / "runtime").read_text()

"""Which engine: found as the docker command finds it, and only ever one of this machine."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path

import pytest

from nexus_ctl.errors import UsageError
from nexus_ctl.runtimes.docker.address import DEFAULT, Address, find, is_here


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty docker configuration, and no word of the environment."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def put_context(folder: Path, name: str, host: str, *, tls: bool = False, skip: bool = False) -> Path:
    """A context as `docker context create` writes it; its folder of certificates."""
    key = hashlib.sha256(name.encode()).hexdigest()
    meta, certificates = folder / "contexts/meta" / key, folder / "contexts/tls" / key / "docker"
    meta.mkdir(parents=True)
    endpoints = {"docker": {"Host": host, "SkipTLSVerify": skip}}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoints}))
    if tls:
        certificates.mkdir(parents=True)
    return certificates


def test_from_the_nearest_word_to_the_default(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find() == Address(DEFAULT)
    put_context(configuration, "desk", "unix:///run/desk.sock")
    put_context(configuration, "shelf", "unix:///run/shelf.sock")
    (configuration / "config.json").write_text('{"currentContext": "desk"}')
    assert find() == Address("unix:///run/desk.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "shelf")
    assert find() == Address("unix:///run/shelf.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert find() == Address(DEFAULT)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    assert find() == Address("tcp://127.0.0.1:2375")
    assert find("unix:///run/given.sock") == Address("unix:///run/given.sock")


def test_what_names_an_engine_and_cannot_be_read_is_no_other_engine(
    configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "nowhere")
    with pytest.raises(UsageError, match="the docker context 'nowhere' is not in"):
        find()
    monkeypatch.delenv("DOCKER_CONTEXT")
    (configuration / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"config\.json cannot be read"):
        find()
    monkeypatch.setenv("DOCKER_HOST", "gpu-box")
    with pytest.raises(UsageError, match="'gpu-box' is no address"):
        find()


def test_certificates(configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    assert find("tcp://127.0.0.1:2376").certificates == configuration
    monkeypatch.setenv("DOCKER_CERT_PATH", "/certs")
    assert find("tcp://127.0.0.1:2376").certificates == Path("/certs")
    assert find("unix:///run/docker.sock").certificates is None
    kept = put_context(configuration, "tls", "tcp://127.0.0.1:2376", tls=True)
    monkeypatch.setenv("DOCKER_CONTEXT", "tls")
    assert find() == Address("tcp://127.0.0.1:2376", kept)
    put_context(configuration, "blind", "tcp://127.0.0.1:2376", tls=True, skip=True)
    monkeypatch.setenv("DOCKER_CONTEXT", "blind")
    with pytest.raises(UsageError, match="trusts any certificate") as refused:
        find()
    assert "docker context update blind" in refused.value.hint


@pytest.mark.parametrize("url", ["tcp://192.0.2.7:2375", "https://gpu-box.invalid:2376"])
def test_an_engine_elsewhere_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", url)
    with pytest.raises(UsageError, match="on another machine") as caught:
        find()
    assert "run nexusctl on the engine's machine" in caught.value.hint
    assert "ssh -L 8600:" in caught.value.hint


def test_this_machine_has_many_names() -> None:
    assert is_here("localhost")
    assert is_here("127.0.0.2")
    assert is_here(socket.gethostbyname(socket.gethostname()))
    assert not is_here("192.0.2.7")

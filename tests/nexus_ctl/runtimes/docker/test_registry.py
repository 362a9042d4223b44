"""The registry's word on an image: layers by platform, by token or login, bounded, and unknown rather than wrong."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from nexus_ctl.resources.image import Credentials
from nexus_ctl.runtimes.docker import registry as client
from nexus_ctl.runtimes.docker.registry import Layer, Platform, Repository, Unanswered
from tests.fixtures.registry import Registry, digest, serving

AMD64 = Platform("linux", "amd64")
LOWER, UPPER = b"lower" * 1000, b"upper" * 2000
READER = Credentials("reader", "s3cret")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as registry:
        registry.put("ai/weights", "1", LOWER, UPPER)
        yield registry


def ask(
    registry: Registry, reference: str, login: Credentials | None = None, of: Platform = AMD64
) -> tuple[Layer, ...]:
    repository = Repository(registry.address, "ai/weights", login, insecure=True)
    return repository.layers(registry.tags.get(reference, reference), of)


def test_layers_in_order_with_what_they_unpack_to(registry: Registry) -> None:
    plain = (Layer(len(LOWER), digest(LOWER), packed=False), Layer(len(UPPER), digest(UPPER), packed=False))
    assert ask(registry, "ai/weights:1") == plain
    registry.put("ai/weights", "2", LOWER, UPPER, packed=True)
    packed = ask(registry, "ai/weights:2")
    assert [layer.diff_id for layer in packed] == [layer.diff_id for layer in plain]
    assert all(layer.packed and layer.download_bytes < len(LOWER) for layer in packed)
    assert not [request for request in registry.requests if digest(LOWER) in request], "no layer is read"


def test_an_index_is_followed_to_the_engines_platform(registry: Registry) -> None:
    arm = registry.put("ai/weights", "arm", UPPER)
    registry.put_index("ai/weights", "all", {"linux/arm64": arm, "linux/amd64": registry.tags["ai/weights:1"]})
    assert len(ask(registry, "ai/weights:all")) == 2
    assert len(ask(registry, "ai/weights:all", of=Platform("linux", "arm64"))) == 1
    with pytest.raises(Unanswered, match="nothing for linux/riscv64"):
        ask(registry, "ai/weights:all", of=Platform("linux", "riscv64"))


def test_a_digest_is_what_the_tag_leads_to(registry: Registry) -> None:
    image = registry.tags["ai/weights:1"]
    index = registry.put_index("ai/weights", "all", {"linux/amd64": image})
    repository = Repository(registry.address, "ai/weights", None, insecure=True)
    assert [repository.digest(reference) for reference in ("1", "all", index)] == [image, index, index]
    with pytest.raises(Unanswered, match="answers 404") as missing:
        repository.digest("2")
    assert missing.value.refused


@pytest.mark.parametrize("by_token", [False, True])
def test_a_login_is_given_where_it_is_asked_for(registry: Registry, by_token: bool) -> None:
    registry.login, registry.by_token = "reader:s3cret", by_token
    assert len(ask(registry, "ai/weights:1", READER)) == 2
    for login in (None, Credentials("reader", "wrong")):
        with pytest.raises(Unanswered, match=r"wants a login|refuses the login|answers 401") as refused:
            ask(registry, "ai/weights:1", login)
        assert "wrong" not in str(refused.value)


def test_everybody_gets_a_token_of_an_open_registry(registry: Registry) -> None:
    registry.by_token = True
    assert len(ask(registry, "ai/weights:1")) == 2
    assert any("scope=repository%3Aai%2Fweights%3Apull" in request for request in registry.requests)


def test_a_token_service_without_tls_is_not_given_a_login(registry: Registry) -> None:
    repository = Repository(registry.address, "ai/weights", READER, insecure=False)
    with pytest.raises(Unanswered, match="wants a login"):
        repository._authorize(f'Bearer realm="http://{registry.address}/token"')
    assert registry.requests == []


def test_what_is_not_what_its_digest_says_is_not_believed(registry: Registry) -> None:
    found = registry.tags["ai/weights:1"]
    kind, manifest = registry.blobs[found]
    registry.blobs[found] = kind, manifest.replace(b"5000", b"0005")
    with pytest.raises(Unanswered, match="something else than sha256:"):
        ask(registry, "ai/weights:1")


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"manifests": 3}', b'{"manifests": [3]}', b"no JSON", b"\xff"])
def test_odd_answers_are_unknown(registry: Registry, body: bytes) -> None:
    registry.blobs[digest(body)] = "application/json", body
    with pytest.raises(Unanswered, match="a form that is not known"):
        ask(registry, digest(body))


def test_an_endless_answer_is_cut(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_BYTES", 1 << 20)
    body = os.urandom(2 << 20)
    registry.blobs[digest(body)] = "application/json", body
    with pytest.raises(Unanswered, match="more than 1 MiB"):
        ask(registry, digest(body))


def test_nobody_there_and_nothing_there(registry: Registry) -> None:
    with pytest.raises(Unanswered, match="answers 404"):
        ask(registry, f"sha256:{'0' * 64}")
    for insecure in (False, True):
        with pytest.raises(Unanswered, match=r"127\.0\.0\.1:1 is not reachable from here: .*refused"):
            Repository("127.0.0.1:1", "ai/weights", None, insecure=insecure).layers(f"sha256:{'0' * 64}", AMD64)


def test_silence_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unanswered, match="timed out"):
            Repository(address, "x", None, insecure=False).layers("sha256:0", AMD64)


def test_many_slow_answers_end_as_well(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ALL_SECONDS", -1.0)
    with pytest.raises(Unanswered, match="not done after"):
        ask(registry, "ai/weights:1")

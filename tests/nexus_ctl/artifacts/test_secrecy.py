"""No token, password or signed parameter is ever written, shown, or sent to a server it was not given for (R29)."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import pytest

from nexus_ctl.artifacts.collect import garbage
from nexus_ctl.artifacts.transfer.address import display, with_user
from nexus_ctl.errors import ActionError, Retryable, Terminal
from nexus_ctl.resources.artifact import Request
from nexus_ctl.resources.model import Source
from tests.fakes.http_origin import HttpOrigin
from tests.nexus_ctl.artifacts.bench import Bench

CANARY = "canary-81c2-never-shown"
CONTENT = b"weights" * 1000


def written(bench: Bench) -> Iterator[bytes]:
    for path in bench.root.glob("**/*"):
        yield str(path).encode()
        if path.is_file() and path.suffix != ".part" and "blobs" not in path.parts:
            yield path.read_bytes()


def shown(error: ActionError) -> str:
    return error.detail + error.hint + "".join(traceback.format_exception(error, limit=0))


def test_a_token_opens_the_door_and_is_nowhere_afterwards(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, bearer=CANARY, cut_at=3000, cut_times=2)
    request = bench.url()
    with pytest.raises(Terminal, match="HTTP 401") as caught:
        bench.fetch(request)
    assert caught.value.hint == "give a token: spec.source.token"
    artifact = bench.fetch(request, CANARY)
    assert not any(CANARY.encode() in text for text in written(bench))
    assert CANARY not in repr(artifact) + repr(bench.told) + repr(garbage(bench.cache.layout, bench.clock))


def test_a_refused_token_is_not_shown(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, bearer="another")
    with pytest.raises(Terminal, match="HTTP 403") as caught:
        bench.fetch(bench.url(), CANARY)
    assert CANARY not in shown(caught.value)
    assert caught.value.hint == "the token is not accepted, or may not read this"


def test_an_interrupted_download_holds_no_token(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, bearer=CANARY, cut_at=3000, cut_times=99)
    with pytest.raises(Retryable) as caught:
        bench.fetch(bench.url(), CANARY)
    assert CANARY not in shown(caught.value)
    assert bench.files("partial") != []
    assert not any(CANARY.encode() in text for text in written(bench))


def test_credentials_stay_with_their_server(bench: Bench) -> None:
    with HttpOrigin() as other:
        storage = other.put("/blob", CONTENT)
        bench.origin.put("/model.gguf", redirect=storage)
        bench.fetch(bench.url(), CANARY)
        assert {asked.authorization for asked in other.log} == {""}
        assert {asked.authorization for asked in bench.origin.log} == {f"Bearer {CANARY}"}


def test_credentials_go_along_within_their_server(bench: Bench) -> None:
    bench.origin.put("/model.gguf", CONTENT, bearer=CANARY)
    bench.origin.put("/old", redirect="/model.gguf")
    assert bench.fetch(bench.url("/old"), CANARY).size_bytes == len(CONTENT)


def test_a_password_and_a_signature_in_the_address(bench: Bench) -> None:
    signed = f"/model.gguf?X-Amz-Signature={CANARY}&part=2"
    bench.origin.put(signed, CONTENT, cut_at=3000)
    url = (bench.origin.url + signed).replace("http://", f"http://me:{CANARY}@")
    artifact = bench.fetch(Request(Source(url=url)))
    assert artifact.origin == f"{bench.origin.url}/model.gguf?X-Amz-Signature=***&part=2"
    assert {asked.authorization for asked in bench.origin.log} == {"Basic bWU6Y2FuYXJ5LTgxYzItbmV2ZXItc2hvd24="}
    assert not any(CANARY.encode() in text for text in written(bench))


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://host/a/b.gguf?download=true", "https://host/a/b.gguf?download=true"),
        ("https://u:p@host:8443/a?token=x&v=1#frag", "https://host:8443/a?token=***&v=1"),
        (
            "https://[::1]:80/a?AWSAccessKeyId=x&Expires=9&sig=1",
            "https://[::1]:80/a?AWSAccessKeyId=***&Expires=9&sig=***",
        ),
    ],
)
def test_what_people_see_of_an_address(url: str, seen: str) -> None:
    assert display(url) == seen


def test_an_index_lends_its_credentials_to_its_own_files_only() -> None:
    index = "https://u:p@pypi.corp/simple"
    assert with_user("https://pypi.corp/files/a.whl", index) == "https://u:p@pypi.corp/files/a.whl"
    assert with_user("https://files.corp/a.whl", index) == "https://files.corp/a.whl"
    assert with_user("http://pypi.corp/a.whl", index) == "http://pypi.corp/a.whl"

"""What is held against what the source says now: a hub that moves, drops, gates, re-licenses, or is not asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.source import Means, Patience
from nexus_ctl.resources.artifact import Quantization, Request
from nexus_ctl.resources.lock import Locked
from nexus_ctl.resources.model import HuggingFaceSource, Source
from tests.fakes.clock import FakeClock
from tests.fakes.http_origin import HttpOrigin
from tests.fakes.hub import FakeHub

REPO = "acme/smol"
BIG, SMALL = bytes(range(256)) * 100, b'{"a": 1}'
REQUEST = Request(Source(hugging_face=HuggingFaceSource(repo=REPO, files=["*.gguf", "*.json"])))


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.commit(REPO, {"smol.gguf": BIG, "config.json": SMALL})
        hub.describe(REPO, cardData={"license": "apache-2.0"})
        yield hub


def a_cache(hub: HttpOrigin, root: Path, **environ: str) -> Cache:
    return Cache(root, Means(FakeClock(), {"HF_ENDPOINT": hub.url, **environ}, Patience(failures=1)))


@pytest.fixture
def cache(hub: FakeHub, tmp_path: Path) -> Cache:
    """With the repository's files here."""
    cache = a_cache(hub, tmp_path, HF_HOME=str(tmp_path / "hf"))
    cache.fetch(REQUEST, cache.resolve(REQUEST), lambda _: None)
    return cache


def states(cache: Cache, request: Request = REQUEST) -> dict[str, str]:
    found = cache.verify_remote(request)
    told = {one.subject: one.state for one in found}
    assert len(told) == len(found)
    return told


GOOD = {"revision main": "ok", "config.json": "ok", "smol.gguf": "ok", "access": "ok", "licence": "ok"}


def test_what_is_unchanged_is_ok_and_nothing_is_downloaded(hub: FakeHub, cache: Cache) -> None:
    before = hub.sent_by_storage
    assert states(cache) == GOOD
    assert states(cache, replace(REQUEST, steps=(Quantization("Q8_0"),))) == GOOD, "of what is built the source counts"
    assert hub.sent_by_storage == before


def test_a_branch_that_moved_says_which_files_changed_came_and_went(hub: FakeHub, cache: Cache) -> None:
    old = next(one.held for one in cache.verify_remote(REQUEST) if one.subject == "revision main")
    hub.commit(REPO, {"smol.gguf": BIG + b"!", "other.json": SMALL})
    hub.describe(REPO, cardData={"license": "apache-2.0"})
    assert states(cache) == {
        "revision main": "moved",
        f"commit {old}": "ok",
        "config.json": "gone",
        "smol.gguf": "changed",
        "other.json": "new",
        "access": "ok",
        "licence": "ok",
    }


def test_a_new_commit_with_the_same_files_moves_nothing(hub: FakeHub, cache: Cache) -> None:
    hub.commit(REPO, {"smol.gguf": BIG, "config.json": SMALL, "README.md": b"hello"})
    hub.describe(REPO, cardData={"license": "apache-2.0"})
    told = states(cache)
    assert told["revision main"] == "ok"
    assert set(told.values()) == {"ok"}


def test_a_held_commit_that_is_gone_is_told(hub: FakeHub, cache: Cache) -> None:
    found = cache.contents(REQUEST, lambda _: None, ask=False)
    hub.put(f"/api/models/{REPO}/revision/{found[0]}", status=404, headers={"X-Error-Code": "RevisionNotFound"})
    hub.commit(REPO, {"smol.gguf": BIG + b"!", "config.json": SMALL})
    assert states(cache)[f"commit {found[0][:7]}"] == "gone"


def test_a_gate_and_another_licence_are_told(hub: FakeHub, cache: Cache) -> None:
    hub.describe(REPO, cardData={"license": "cc-by-nc-4.0"})
    [licence] = [one for one in cache.verify_remote(REQUEST) if one.subject == "licence"]
    assert (licence.state, licence.held, licence.now) == ("changed", "apache-2.0", "cc-by-nc-4.0")
    hub.describe(REPO, cardData={"license": "apache-2.0"}, gated="manual")
    hub.put(f"/api/models/{REPO}/auth-check", b"{}", content_type="application/json")
    [access] = [one for one in cache.verify_remote(REQUEST) if one.subject == "access"]
    assert (access.state, access.held, access.now) == ("changed", "open", "gated"), "this token may read it"
    refusal = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
    hub.put(f"/api/models/{REPO}/auth-check", status=403, headers=refusal)
    [access] = [one for one in cache.verify_remote(REQUEST) if one.subject == "access"]
    assert (access.state, "is gated" in access.now) == ("refused", True)


def test_a_repository_that_is_gone_is_told(hub: FakeHub, cache: Cache) -> None:
    missing = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
    hub.put(f"/api/models/{REPO}/revision/main", status=401, headers=missing)
    [found] = cache.verify_remote(REQUEST)
    assert (found.subject, found.state, "is not there" in found.now) == ("revision main", "gone", True)


def test_a_hub_that_is_not_asked_or_does_not_answer_is_unknown(hub: FakeHub, cache: Cache, tmp_path: Path) -> None:
    asked = len(hub.log)
    [found] = a_cache(hub, tmp_path, HF_HUB_OFFLINE="1").verify_remote(REQUEST)
    assert (found.state, found.now) == ("unknown", "offline: HF_HUB_OFFLINE is set")
    assert len(hub.log) == asked
    silent = Cache(tmp_path, Means(FakeClock(), {"HF_ENDPOINT": "http://127.0.0.1:1"}, Patience(failures=1)))
    [found] = silent.verify_remote(REQUEST)
    assert (found.state, "127.0.0.1:1" in found.now) == ("unknown", True)


def test_what_is_locked_counts_also_where_it_is_not_here(hub: FakeHub, tmp_path: Path) -> None:
    cache = a_cache(hub, tmp_path)
    assert cache.verify_remote(REQUEST) == (), "nothing is held"
    commit, files = cache.contents(REQUEST, lambda _: None, ask=True)
    request = replace(REQUEST, locked=Locked({}, files, commit))
    told = states(cache, request)
    assert told == {name: state for name, state in GOOD.items() if name != "licence"}, "under which it came is unknown"
    hub.commit(REPO, {"smol.gguf": BIG + b"!", "config.json": SMALL})
    assert states(cache, request)["smol.gguf"] == "changed"


def test_an_address_is_held_by_what_it_states(tmp_path: Path) -> None:
    with HttpOrigin() as origin:
        request = Request(Source(url=origin.put("/a.gguf", BIG, etag='"one"')))
        cache = a_cache(origin, tmp_path)
        cache.fetch(request, cache.resolve(request), lambda _: None)
        assert list(states(cache, request).values()) == ["ok"]
        origin.put("/a.gguf", BIG[::-1], etag='"two"')
        [found] = cache.verify_remote(request)
        assert (found.subject, found.state, found.held != found.now) == ("a.gguf", "changed", True)
        origin.put("/a.gguf", BIG[:-1], etag='"two"')
        [found] = cache.verify_remote(request)
        assert (found.state, found.held, found.now) == ("changed", "25600 bytes", "25599 bytes")
        origin.put("/a.gguf", status=404)
        assert states(cache, request) == {"source": "gone"}
    own = tmp_path / "own.gguf"
    own.write_bytes(BIG)
    assert cache.verify_remote(Request(Source(path=str(own)))) == ()

"""A lock against a hub that moves, and against what is on disk: what is pinned is that, or an error."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from nexus_ctl.artifacts.upstream import PATIENCE_SECONDS, SILENCE
from nexus_ctl.errors import IntegrityError
from nexus_ctl.resources.artifact import Request, Upstream
from nexus_ctl.resources.lock import Locked, LockedFile, asked
from nexus_ctl.resources.model import HuggingFaceSource, Source
from tests.fakes.hub import FakeHub, git_oid, sha256
from tests.nexus_ctl.artifacts.bench import Bench, digest

REPO = "acme/tiny-GGUF"
SEED = random.Random(23)
OLD, NEW, OTHER = SEED.randbytes(300_000), SEED.randbytes(310_000), SEED.randbytes(20_000)
CONFIG = b'{"model_type": "tiny"}'


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path, hub: FakeHub) -> Bench:
    environ = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "hf"), "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    return Bench(tmp_path / "cache", hub, environ)


def wanted(*files: str) -> Request:
    return Request(Source(hugging_face=HuggingFaceSource(repo=REPO, files=list(files))))


def locked(shop: Bench, request: Request, *, ask: bool = True) -> Request:
    """The request, pinned to what its source is now."""
    commit, files = shop.cache.contents(request, shop.told.append, ask=ask)
    return replace(request, locked=Locked(asked(request.source, "/"), files, commit))


def look(shop: Bench, request: Request, *, again: bool = True) -> Upstream | None:
    return shop.cache.upstream({"it": (request, None)}, look=again).get("it")


def api_calls(hub: FakeHub) -> list[str]:
    return [one.path for one in hub.log if one.path.startswith("/api/")]


def test_a_hub_is_locked_without_a_byte_of_its_files(shop: Bench, hub: FakeHub) -> None:
    commit = hub.commit(REPO, {"a.gguf": OLD, "config.json": CONFIG})
    found = locked(shop, wanted()).locked
    assert found is not None
    assert found.commit == commit
    assert found.files == {
        "a.gguf": LockedFile(len(OLD), f"sha256:{sha256(OLD)}"),
        "config.json": LockedFile(len(CONFIG), f"git:{git_oid(CONFIG)}"),
    }
    assert found.source == {"huggingFace": {"repo": REPO, "revision": "main"}}
    assert hub.sent_by_storage == 0


def test_a_pin_wins_over_a_branch_that_moved(shop: Bench, hub: FakeHub) -> None:
    old = hub.commit(REPO, {"a.gguf": OLD, "config.json": CONFIG})
    pinned = locked(shop, wanted())
    hub.commit(REPO, {"a.gguf": NEW, "config.json": CONFIG})
    artifact = shop.fetch(pinned)
    assert Path(artifact.path, "a.gguf").read_bytes() == OLD
    assert old[:12] in artifact.origin
    assert shop.cache.find(pinned) == artifact
    refs = Path(shop.environ["HF_HUB_CACHE"], "models--acme--tiny-GGUF", "refs")
    assert not refs.exists(), "the client is not told that main is an old commit"


def test_locking_what_is_here_asks_nobody_and_says_the_same_as_the_hub(shop: Bench, hub: FakeHub) -> None:
    hub.commit(REPO, {"a.gguf": OLD, "config.json": CONFIG})
    artifact = shop.fetch(wanted())
    asked_before = len(hub.log)
    pinned = locked(shop, wanted(), ask=False)
    assert len(hub.log) == asked_before
    assert pinned == locked(shop, wanted(), ask=True)
    assert shop.cache.find(pinned) == artifact


def test_a_lock_that_moved_on_and_back_downloads_each_once(shop: Bench, hub: FakeHub) -> None:
    hub.commit(REPO, {"a.gguf": OLD})
    first = locked(shop, wanted("*.gguf"))
    before = shop.fetch(first)
    hub.commit(REPO, {"a.gguf": NEW})
    second = locked(shop, wanted("*.gguf"))
    assert shop.cache.find(second) is None, "what is here is not what is locked now"
    assert Path(shop.fetch(second).path).read_bytes() == NEW
    assert hub.sent_by_storage == len(OLD) + len(NEW)
    assert shop.cache.find(first) is None, "the record is the new one's"
    back = shop.fetch(first)
    assert (back.sha256, back.identity) == (before.sha256, before.identity)
    assert hub.sent_by_storage == len(OLD) + len(NEW)


def test_a_commit_that_holds_other_bytes_than_locked_is_refused_before_a_byte(shop: Bench, hub: FakeHub) -> None:
    hub.commit(REPO, {"a.gguf": OLD})
    pinned = locked(shop, wanted("*.gguf"))
    assert pinned.locked is not None
    forged = replace(pinned.locked, files={"a.gguf": LockedFile(len(OLD), f"sha256:{sha256(NEW)}")})
    with pytest.raises(IntegrityError, match="the hub says"):
        shop.cache.resolve(replace(pinned, locked=forged))
    two = {"a.gguf": OLD, "b.txt": OTHER}
    hub.commit(REPO, two)
    both = locked(shop, wanted())
    assert both.locked is not None
    forged = replace(both.locked, files={**both.locked.files, "b.txt": LockedFile(len(OTHER), "sha256:" + "0" * 64)})
    with pytest.raises(IntegrityError, match=r"not what the lock pins: b\.txt") as caught:
        shop.cache.resolve(replace(both, locked=forged))
    assert "models lock --upgrade" in caught.value.hint
    assert hub.sent_by_storage == 0


def test_an_address_is_locked_by_its_bytes_and_held_to_them(bench: Bench) -> None:
    request = bench.url()
    bench.origin.put("/model.gguf", OLD)
    pinned = locked(bench, request)
    assert pinned.locked is not None
    assert pinned.locked.sha256 == digest(OLD)
    before = bench.cache.find(request)
    assert bench.cache.find(pinned) == before, "locking what is here changes no name"
    bench.origin.put("/model.gguf", NEW)
    bench.root = bench.root.with_name("another host")
    with pytest.raises(IntegrityError):
        bench.fetch(pinned)
    assert bench.files("blobs") == []


def test_a_local_file_is_locked_by_its_content(tmp_path: Path, bench: Bench) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(OLD)
    pinned = locked(bench, Request(Source(path=str(path))))
    assert pinned.locked is not None
    assert pinned.locked.files == {"own.gguf": LockedFile(len(OLD), f"sha256:{digest(OLD)}")}
    assert bench.cache.find(pinned) is not None
    path.write_bytes(NEW)
    assert bench.cache.find(pinned) is None
    with pytest.raises(IntegrityError) as caught:
        bench.cache.resolve(pinned)
    assert caught.value.hint == "nexusctl models lock --upgrade"


def test_a_moved_branch_is_seen_with_one_request(shop: Bench, hub: FakeHub) -> None:
    old = hub.commit(REPO, {"a.gguf": OLD, "config.json": CONFIG, "README.md": b"one"})
    pinned = locked(shop, wanted("*.gguf", "*.json"))
    found = look(shop, pinned)
    assert found is not None and not found.moved  # noqa: PT018 - one fact
    new = hub.commit(REPO, {"a.gguf": NEW, "config.json": CONFIG, "README.md": b"two"})
    asked_before = len(hub.log)
    found = look(shop, pinned)
    assert len(hub.log) == asked_before + 1
    assert found is not None
    assert (found.revision, found.held, found.now) == ("main", old, new)
    assert (found.files, found.size_bytes) == (1, len(NEW))
    assert look(shop, pinned, again=False) == found, "remembered"
    assert len(hub.log) == asked_before + 1


def test_a_branch_that_moved_past_our_files_did_not_move_for_us(shop: Bench, hub: FakeHub) -> None:
    hub.commit(REPO, {"a.gguf": OLD, "README.md": b"one"})
    pinned = locked(shop, wanted("*.gguf"))
    hub.commit(REPO, {"a.gguf": OLD, "README.md": b"another, longer one"})
    found = look(shop, pinned)
    assert found is not None and not found.moved  # noqa: PT018 - one fact


def test_what_came_without_a_lock_is_watched_as_well(shop: Bench, hub: FakeHub) -> None:
    hub.commit(REPO, {"a.gguf": OLD})
    shop.fetch(wanted("*.gguf"))
    hub.commit(REPO, {"a.gguf": NEW})
    found = look(shop, wanted("*.gguf"))
    assert found is not None and found.moved  # noqa: PT018 - one fact


def test_a_full_commit_cannot_move_and_nobody_is_asked(shop: Bench, hub: FakeHub) -> None:
    commit = hub.commit(REPO, {"a.gguf": OLD})
    fixed = Request(Source(hugging_face=HuggingFaceSource(repo=REPO, revision=commit)))
    pinned = locked(shop, fixed)
    asked_before = len(hub.log)
    assert look(shop, pinned) is None
    assert len(hub.log) == asked_before


def test_a_hub_that_is_away_is_told_with_what_was_seen_and_left_alone_for_a_while(shop: Bench, hub: FakeHub) -> None:
    hub.commit(REPO, {"a.gguf": OLD})
    pinned = locked(shop, wanted("*.gguf"))
    look(shop, pinned)
    seen_at = shop.clock.now().isoformat()
    shop.clock.advance(60)
    hub.file(f"/api/models/{REPO}/revision/main").status = 503
    found = look(shop, pinned)
    assert found is not None
    assert "503" in found.error
    assert (found.seen_at, found.moved) == (seen_at, False)
    asked_before = len(hub.log)
    look(shop, pinned)
    assert len(hub.log) == asked_before, "not asked again so soon"
    shop.clock.advance(SILENCE / timedelta(seconds=1) + 1)
    hub.file(f"/api/models/{REPO}/revision/main").status = 0
    found = look(shop, pinned)
    assert found is not None
    assert found.error == ""


def test_offline_nobody_is_asked(shop: Bench, hub: FakeHub) -> None:
    hub.commit(REPO, {"a.gguf": OLD})
    pinned = locked(shop, wanted("*.gguf"))
    shop.environ["HF_HUB_OFFLINE"] = "1"
    asked_before = len(hub.log)
    found = look(shop, pinned)
    assert found is not None
    assert "offline" in found.error
    assert (found.seen_at, len(hub.log)) == ("", asked_before)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"sha": 1, "siblings": []}', b'{"sha": "x", "siblings": [{}]}'])
def test_an_answer_that_makes_no_sense_is_no_answer(shop: Bench, hub: FakeHub, body: bytes) -> None:
    hub.commit(REPO, {"a.gguf": OLD})
    pinned = locked(shop, wanted("*.gguf"))
    hub.file(f"/api/models/{REPO}/revision/main").content = body
    found = look(shop, pinned)
    assert found is not None
    assert "not the answer of a hub" in found.error
    shop.cache.layout.upstream(pinned.key).write_bytes(body)
    assert look(shop, pinned, again=False) is None, "a damaged memory is none"


def test_a_plan_waits_for_a_silent_hub_only_a_moment() -> None:
    assert PATIENCE_SECONDS <= 2

"""The real hub client against a hub on loopback: searches, cards, memory, and answers that mean harm."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelInfo
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_ctl.artifacts import shelf
from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.artifacts.headers.window import BadHeader
from nexus_ctl.artifacts.hub import client, memory
from nexus_ctl.artifacts.hub.card import EXPAND, card_of
from nexus_ctl.artifacts.hub.catalog import Catalog, Query
from nexus_ctl.artifacts.hub.client import Conversation
from nexus_ctl.artifacts.records import Layout
from nexus_ctl.artifacts.source import Means, Patience
from nexus_ctl.errors import Retryable, Terminal
from nexus_ctl.resources.artifact import Request
from nexus_ctl.resources.catalog import Card, Quantization, Score, quantizations
from nexus_ctl.resources.foreign_text import is_plain
from nexus_ctl.resources.model import HuggingFaceSource, Source
from tests.fakes.clock import FakeClock
from tests.fakes.gguf_models import TINY, write
from tests.fakes.hub import FakeHub, sha256

REPO = "acme/tiny-GGUF"
README = b"---\nlicense: apache-2.0\n---\n# Tiny\n\n\x1b[31mred\x1b[0m \x1b]0;title\x07text\n"
CARD: dict[str, Any] = {
    "downloads": 1234,
    "likes": 5,
    "lastModified": "2026-10-01T12:00:00.000Z",
    "pipeline_tag": "text-generation",
    "library_name": "gguf",
    "tags": ["gguf", "chat", "license:apache-2.0", "base_model:acme/tiny", "base_model:quantized:acme/tiny"],
    "gguf": {"total": 1_100_000_000, "architecture": "llama", "context_length": 8192, "chat_template": "{{ x }}"},
    "cardData": {
        "license": "apache-2.0",
        "language": ["en", "de"],
        "base_model": "acme/tiny",
        "model_name": "Tiny",
        "model-index": [
            {
                "name": "Tiny",
                "results": [
                    {
                        "task": {"type": "text-generation"},
                        "dataset": {"type": "mmlu", "name": "MMLU"},
                        "metrics": [{"type": "acc", "name": "accuracy", "value": 41.5}],
                    }
                ],
            }
        ],
    },
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(TINY["llama-gqa"], tmp_path_factory.mktemp("catalog") / "tiny.gguf").read_bytes()


@pytest.fixture
def hub(model: bytes) -> Iterator[FakeHub]:
    with FakeHub() as server:
        server.commit(REPO, {"tiny-Q8_0.gguf": model, "README.md": README})
        server.describe(REPO, **CARD)
        yield server


class Desk:
    """A catalog opened anew each time, as another process would, on one cache and one clock."""

    def __init__(self, folder: Path, hub: FakeHub) -> None:
        self.clock = FakeClock()
        self.environ = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
        self.folder = folder / "cache"
        self.hub = hub

    @property
    def catalog(self) -> Catalog:
        return Catalog(Layout(self.folder), Means(self.clock, self.environ, Patience(failures=2, stall_seconds=20)))

    def asked(self) -> list[tuple[str, int]]:
        """(path, status) of what the hub was asked since the last time."""
        found = [(asked.path.partition("?")[0], asked.status) for asked in self.hub.log]
        self.hub.log.clear()
        return found


@pytest.fixture
def desk(tmp_path: Path, hub: FakeHub) -> Desk:
    return Desk(tmp_path, hub)


def test_a_card_as_the_hub_tells_it(desk: Desk, model: bytes) -> None:
    found = desk.catalog.repository(REPO)
    assert found.card == Card(
        title="Tiny",
        license="apache-2.0",
        task="text-generation",
        library="gguf",
        tags=("gguf", "chat"),
        languages=("en", "de"),
        base_models=("acme/tiny",),
        parameters=1_100_000_000,
        architecture="llama",
        context_tokens=8192,
        chat_template="{{ x }}",
        scores=(Score("text-generation", "MMLU", "accuracy", "41.5"),),
        downloads=1234,
        likes=5,
        updated=found.card.updated,
    )
    assert found.card.updated is not None
    assert found.card.updated.year == 2026
    assert [(file.name, file.size_bytes) for file in found.files] == [
        ("README.md", len(README)),
        ("tiny-Q8_0.gguf", len(model)),
    ]
    assert found.files[1].sha256 == sha256(model)
    assert found.fresh.why == ""


def test_the_text_of_a_card_is_plain(desk: Desk) -> None:
    found = desk.catalog.repository(REPO)
    assert desk.catalog.card_text(found) == "# Tiny\n\nred text"


def test_a_search_goes_over_pages_and_keeps_the_order_of_the_hub(desk: Desk, hub: FakeHub) -> None:
    for number in range(7):
        hub.commit(f"other/qwen-{number}", {"x.txt": b"x"})
        hub.describe(f"other/qwen-{number}", downloads=number, tags=["gguf"] if number % 2 else [])
    hub.page_size = 2
    found = desk.catalog.search(Query(("Qwen",), limit=5))
    assert [one.repo for one in found.models] == [f"other/qwen-{number}" for number in (6, 5, 4, 3, 2)]
    assert [one.is_gguf for one in found.models] == [False, True, False, True, False]
    assert len(desk.asked()) == 3
    only = desk.catalog.search(Query(("qwen",), gguf_only=True))
    assert [one.repo for one in only.models] == [f"other/qwen-{number}" for number in (5, 3, 1)]
    assert desk.catalog.search(Query(("nothing", "like", "it"))).models == ()


def test_an_answer_is_used_unasked_while_fresh_and_then_held_against_the_hub(desk: Desk, hub: FakeHub) -> None:
    began = desk.clock.now()
    desk.catalog.repository(REPO)
    assert len(desk.asked()) == 2
    desk.clock.sleep(300)
    assert desk.catalog.repository(REPO).fresh.as_of == began
    assert desk.asked() == []
    assert desk.catalog.repository(REPO, refresh=True).fresh.as_of == desk.clock.now()
    assert {status for _, status in desk.asked()} == {304}
    desk.clock.sleep(memory.FRESH.total_seconds())
    hub.describe(REPO, downloads=9)
    assert desk.catalog.repository(REPO).card.downloads == 9
    assert sorted(status for _, status in desk.asked()) == [200, 304]


@pytest.mark.parametrize("away", ["busy", "limited", "cut", "offline"])
def test_without_the_hub_the_last_answer_serves_with_its_age(desk: Desk, hub: FakeHub, away: str) -> None:
    before = desk.catalog.repository(REPO)
    searched = desk.catalog.search(Query(("tiny",)))
    desk.clock.sleep(3 * 3600)
    faults = {
        "busy": {"status": 503},
        "limited": {"status": 429, "retry_after": "3600"},
        "cut": {"cut_at": 0, "cut_times": 99},
    }
    if away == "offline":
        desk.environ["HF_HUB_OFFLINE"] = "1"
    else:
        for path in (f"/api/models/{REPO}/revision/main", f"/api/models/{REPO}/tree/{before.commit}", "/api/models"):
            hub.put(path, b"[{}]", **faults[away])
    after = desk.catalog.repository(REPO)
    assert replace(after, fresh=before.fresh, requests=0) == replace(before, requests=0)
    assert after.fresh.as_of == before.fresh.as_of == desk.clock.now() - timedelta(hours=3)
    assert after.fresh.why == "offline" if away == "offline" else after.fresh.why.startswith("the hub does not answer")
    assert desk.catalog.search(Query(("tiny",))).models == searched.models


def test_without_hub_and_memory_it_says_so(desk: Desk, hub: FakeHub) -> None:
    hub.put("/api/models", status=429, retry_after="3600")
    with pytest.raises(Retryable, match="HTTP 429"):
        desk.catalog.search(Query(("tiny",)))
    assert desk.clock.monotonic() < 3600
    desk.environ["HF_HUB_OFFLINE"] = "1"
    with pytest.raises(Terminal, match="was not asked before") as caught:
        desk.catalog.repository(REPO)
    assert caught.value.code == "offline"


def test_a_busy_hub_is_asked_again(desk: Desk, hub: FakeHub) -> None:
    hub.file(f"/api/models/{REPO}/revision/main").busy = 1
    assert desk.catalog.repository(REPO).card.likes == 5


@pytest.mark.parametrize(("status", "code"), [("RepoNotFound", "no-such-source"), ("GatedRepo", "gated")])
def test_refusals_have_their_own_words(desk: Desk, hub: FakeHub, status: str, code: str) -> None:
    path = f"/api/models/{REPO}/revision/main"
    hub.put(path, status=403, headers={"X-Error-Code": status, "X-Error-Message": "no"})
    with pytest.raises(Terminal) as caught:
        desk.catalog.repository(REPO)
    assert caught.value.code == code
    with pytest.raises(Terminal, match="no revision"):
        desk.catalog.repository(REPO, "v9")


def test_a_token_goes_to_the_hub_and_never_into_memory(desk: Desk, hub: FakeHub) -> None:
    hub.file(f"/api/models/{REPO}/revision/main").bearer = "hf_secret"
    with pytest.raises(Terminal):
        desk.catalog.repository(REPO)
    assert desk.catalog.repository(REPO, token="hf_secret").card.title == "Tiny"
    kept = [path.read_text() for path in (desk.folder / "hub").iterdir()]
    assert kept
    assert not any("hf_secret" in text for text in kept)


def test_a_next_page_on_another_host_is_not_asked(desk: Desk, hub: FakeHub) -> None:
    elsewhere = hub.url.replace("127.0.0.1", "localhost")
    rows = json.dumps([{"id": REPO}]).encode()
    hub.put("/api/models", rows, headers={"Link": f'<{elsewhere}/steal>; rel="next"'}, content_type="application/json")
    with pytest.raises(Terminal, match="which is not asked"):
        desk.catalog.search(Query(("tiny",)))
    assert [path for path, _ in desk.asked()] == ["/api/models"]


def test_nothing_else_is_asked_of_the_hub(desk: Desk, hub: FakeHub) -> None:
    """The client fetches a list of AI agents at its first request, if it is let."""
    script = (
        "from pathlib import Path; from nexus_ctl.clock import SystemClock\n"
        "from nexus_ctl.artifacts.hub.catalog import *\n"
        "import os; Catalog(Layout(Path.cwd()), Means(SystemClock(), os.environ)).search(Query(('tiny',)))"
    )
    root = str(Path(__file__).parents[4])
    environ = {**desk.environ, "PYTHONPATH": root, "HOME": str(desk.folder)}
    desk.folder.mkdir()
    subprocess.run([sys.executable, "-c", script], check=True, cwd=desk.folder, env=environ)
    assert [path for path, _ in desk.asked()] == ["/api/models"]


def test_a_listing_without_end_ends(desk: Desk, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "REQUESTS", 5)
    hub.put("/api/models", b"[]", headers={"Link": f'<{hub.url}/api/models?x=1>; rel="next"'}, etag=None)
    with pytest.raises(Terminal, match="does not end"):
        desk.catalog.search(Query(("tiny",)), refresh=True)
    assert len(desk.asked()) == 5


HOSTILE: dict[str, bytes] = {
    "no JSON": b"<html>",
    "a list": b"[]",
    "nested beyond reason": b"[" * 100_000,
    "no commit": json.dumps({"id": REPO}).encode(),
    "a commit that is a path": json.dumps({"id": REPO, "sha": "../../../etc"}).encode(),
    "odd siblings": json.dumps({"id": REPO, "sha": "0" * 40, "siblings": [{"size": {}}]}).encode(),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_an_answer_of_another_form_is_refused_in_words_and_not_remembered(desk: Desk, hub: FakeHub, what: str) -> None:
    hub.put(f"/api/models/{REPO}/revision/main", HOSTILE[what], content_type="application/json")
    with pytest.raises(Terminal) as caught:
        desk.catalog.repository(REPO)
    assert caught.value.code == "bad-answer"
    desk.environ["HF_HUB_OFFLINE"] = "1"
    with pytest.raises(Terminal, match="was not asked before"):
        desk.catalog.repository(REPO)


def test_an_answer_too_large_is_not_read(desk: Desk, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_BYTES", 100_000)
    hub.put(f"/api/models/{REPO}/revision/main", b" " * 10_000_000)
    with pytest.raises(Terminal, match="longer than 100000 bytes"):
        desk.catalog.repository(REPO)


@pytest.mark.parametrize(
    "name", ["../up", "a/../../b", "/etc/passwd", "a\x1b[2Jb.gguf", "a\nb", "x" * 2000, "\u202efugg.x"]
)
def test_file_names_that_lead_out_or_lie_condemn_the_listing(desk: Desk, hub: FakeHub, name: str) -> None:
    commit = desk.catalog.repository(REPO).commit
    row = {"type": "file", "path": name, "size": 1, "oid": "0" * 40}
    hub.put(f"/api/models/{REPO}/tree/{commit}", json.dumps([row]).encode(), content_type="application/json")
    with pytest.raises(Terminal, match="lead out of the repository"):
        desk.catalog.repository(REPO, refresh=True)


def test_fields_of_a_card_are_believed_only_in_their_form(desk: Desk, hub: FakeHub) -> None:
    hub.describe(
        REPO,
        downloads="many",
        likes=-4,
        tags=["ok", 5, None, "x\x1b[31my", "z" * 5000],
        gguf={"total": 1e300, "architecture": ["x"], "context_length": True, "chat_template": 7},
        pipeline_tag={"a": 1},
        cardData={"license": ["mit", 3], "language": 5, "base_model": {"x": 1}, "model-index": "none"},
    )
    card = desk.catalog.repository(REPO).card
    assert (card.downloads, card.likes, card.parameters, card.context_tokens) == (None, None, None, None)
    assert (card.architecture, card.chat_template, card.task, card.license) == ("", "", "", "mit")
    assert card.tags == ("ok", "xy", "z" * 200)
    assert (card.languages, card.base_models, card.scores) == ((), (), ())


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted({*EXPAND, "model-index", "cardData"})), JUNK, max_size=6), JUNK)
def test_whatever_the_fields_hold_it_is_a_card_or_a_refusal(fields: dict[str, Any], front_matter: Any) -> None:
    said = {"id": REPO, **fields}
    if isinstance(front_matter, dict):
        said["cardData"] = {**front_matter, "model-index": front_matter}
    refused, card = "", Card()
    try:
        with Conversation("http://hub.test").api():
            card = card_of(ModelInfo(**said))
    except Terminal as refusal:
        refused = refusal.code
    assert refused in ("", "bad-answer")
    texts = [card.title, card.license, card.task, card.library, *card.tags, *card.languages, *card.base_models]
    assert all(is_plain(text) and len(text) <= 200 * 50 for text in texts)


def test_memory_is_bounded_and_lets_go_of_what_was_not_used(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "FILES", 3)
    kept = shelf.Shelf(desk.folder / "hub")
    for number in range(6):
        kept.write(f"k{number}", {"n": number})
        kept.read("k0")
    assert len(list((desk.folder / "hub").iterdir())) == 3
    assert kept.read("k0") == {"n": 0}
    monkeypatch.setattr(shelf, "FILE_BYTES", 10)
    kept.write("large", {"n": "x" * 100})
    assert kept.read("large") is None


def test_damaged_memory_is_no_memory(desk: Desk) -> None:
    desk.catalog.repository(REPO)
    desk.asked()
    for path in (desk.folder / "hub").iterdir():
        path.write_text('{"url": 5')
    assert desk.catalog.repository(REPO).card.title == "Tiny"
    assert {status for _, status in desk.asked()} == {200}


def offered(desk: Desk) -> Quantization:
    (one,) = quantizations(desk.catalog.repository(REPO).files)
    return one


def test_a_header_is_read_once_and_then_remembered(desk: Desk, model: bytes, tmp_path: Path) -> None:
    repository = desk.catalog.repository(REPO)
    first = desk.catalog.header(repository, offered(desk))
    (tmp_path / "same.gguf").write_bytes(model)
    assert first.header == read_file(tmp_path / "same.gguf").header
    assert 0 < first.bytes_read < len(model) / 2
    assert 2 <= first.requests <= 5
    desk.environ["HF_HUB_OFFLINE"] = "1"
    again = desk.catalog.header(repository, offered(desk))
    assert (again.header, again.requests, again.bytes_read) == (first.header, 0, 0)


def test_a_plan_takes_the_header_that_the_catalog_read(desk: Desk, hub: FakeHub) -> None:
    first = desk.catalog.header(desk.catalog.repository(REPO), offered(desk))
    cache = Cache(desk.folder, desk.catalog.means)
    hub.stored(REPO, "tiny-Q8_0.gguf").status = 404
    request = Request(Source(hugging_face=HuggingFaceSource(repo=REPO)))
    assert cache.header(request) == first.header


def test_a_header_that_was_never_read_is_not_to_be_had_offline(desk: Desk) -> None:
    repository = desk.catalog.repository(REPO)
    desk.environ["HF_HUB_OFFLINE"] = "1"
    with pytest.raises(Terminal, match="was not read before"):
        desk.catalog.header(repository, offered(desk))


def test_a_file_that_is_no_model_has_no_header(desk: Desk, hub: FakeHub) -> None:
    hub.commit(REPO, {"tiny-Q8_0.gguf": bytes(20_000)})
    repository = desk.catalog.repository(REPO)
    with pytest.raises(BadHeader):
        desk.catalog.header(repository, offered(desk))

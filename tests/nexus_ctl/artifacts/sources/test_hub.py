"""Hub repositories: chosen files at one commit, verified; the real client on the other side of the shared cache."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from nexus_ctl.artifacts.collect import collect, garbage
from nexus_ctl.artifacts.hub.cache import hub_cache_folder
from nexus_ctl.artifacts.source import Patience
from nexus_ctl.errors import IntegrityError, Retryable, Terminal
from nexus_ctl.resources.artifact import Pin, Request
from nexus_ctl.resources.model import HuggingFaceSource, Source
from tests.fakes.hub import FakeHub, sha256
from tests.nexus_ctl.artifacts.bench import Bench

REPO = "acme/tiny-GGUF"
SEED = random.Random(5)
Q4, Q8 = SEED.randbytes(300_000), SEED.randbytes(500_000)
SPLIT = {f"big/big-Q4-0000{n}-of-00003.gguf": SEED.randbytes(100_000 + n) for n in (1, 2, 3)}
CONFIG = b'{"model_type": "tiny"}'
FILES = {"tiny-Q4_K_M.gguf": Q4, "tiny-Q8_0.gguf": Q8, "config.json": CONFIG, **SPLIT}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as server:
        server.commit(REPO, FILES)
        yield server


@pytest.fixture
def shop(tmp_path: Path, hub: FakeHub) -> Bench:
    """A cache whose Hugging Face settings lead to the fake hub and to a cache of its own."""
    environ = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "hf"), "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    return Bench(tmp_path / "cache", hub, environ, Patience(failures=2, stall_seconds=20))


def wanted(*files: str, revision: str = "main", sha256: str | None = None, ignore: tuple[str, ...] = ()) -> Request:
    source = HuggingFaceSource(repo=REPO, revision=revision, files=list(files), ignore=list(ignore))
    return Request(Source(hugging_face=source), sha256)


def blob_of(shop: Bench, name: str) -> Path:
    """Where the Hugging Face cache keeps a file of REPO."""
    folder = Path(shop.environ["HF_HUB_CACHE"]) / "models--acme--tiny-GGUF"
    (pointer,) = folder.glob(f"snapshots/*/{name}")
    return pointer.resolve()


def test_one_file_of_a_repository(shop: Bench, hub: FakeHub) -> None:
    offer = shop.cache.resolve(wanted("*Q4_K_M*"))
    assert (offer.identity, offer.size_bytes) == (f"sha256:{sha256(Q4)}", len(Q4))
    assert offer.origin.startswith(f"{hub.url}/{REPO}@")
    artifact = shop.cache.fetch(wanted("*Q4_K_M*"), offer, shop.told.append)
    assert Path(artifact.path).read_bytes() == Q4
    assert (artifact.identity, artifact.sha256, artifact.files) == (offer.identity, sha256(Q4), ())
    assert hub.sent_by_storage == len(Q4)
    assert shop.cache.find(wanted("*Q4_K_M*")) == artifact


def test_a_small_file_is_verified_by_its_git_digest(shop: Bench, hub: FakeHub) -> None:
    artifact = shop.fetch(wanted("config.json"))
    assert artifact.identity == f"git:{hashlib.sha1(b'blob %d' % len(CONFIG) + bytes(1) + CONFIG).hexdigest()}"
    (commit,) = {asked.path.split("/")[4] for asked in hub.log if "/resolve/" in asked.path}
    hub.file(f"/{REPO}/resolve/{commit}/config.json").wrong_first_byte = True
    shop.root = shop.root.with_name("another")
    shop.environ["HF_HUB_CACHE"] += "-other"
    with pytest.raises(IntegrityError, match="git blob"):
        shop.fetch(wanted("config.json"))


def test_a_split_model_is_one_artifact_with_its_parts_beside_each_other(shop: Bench) -> None:
    request = wanted("big/*-00002-of-*")
    offer = shop.cache.resolve(request)
    assert offer.size_bytes == sum(map(len, SPLIT.values()))
    artifact = shop.cache.fetch(request, offer, shop.told.append)
    assert [Path(path).name for path in artifact.files] == [Path(name).name for name in SPLIT]
    assert [Path(path).read_bytes() for path in artifact.files] == list(SPLIT.values())
    assert artifact.path == artifact.files[0]
    assert not any(Path(path).is_symlink() for path in artifact.files)
    assert artifact.identity == offer.identity
    assert shop.told[-1].done_bytes == shop.told[-1].total_bytes == artifact.size_bytes == offer.size_bytes
    assert shop.cache.find(request) == artifact


def test_a_whole_repository_is_a_folder(shop: Bench, hub: FakeHub) -> None:
    files = {"config.json": CONFIG, "model.safetensors": Q8, "tokenizer/vocab.json": b"{}", "README.md": b"# hi"}
    hub.commit(REPO, files)
    artifact = shop.fetch(wanted(ignore=("*.md",)))
    there = {
        path.relative_to(artifact.path).as_posix(): path.read_bytes() for path in Path(artifact.path).glob("**/*.*")
    }
    assert there == {name: content for name, content in files.items() if name != "README.md"}


def test_a_part_that_vanishes_is_put_back_from_its_blob(shop: Bench, hub: FakeHub) -> None:
    artifact = shop.fetch(wanted("big/*"))
    Path(artifact.files[1]).unlink()
    assert shop.cache.find(wanted("big/*")) == artifact
    assert Path(artifact.files[1]).read_bytes() == list(SPLIT.values())[1]


def test_an_interrupted_set_keeps_its_finished_parts(shop: Bench, hub: FakeHub) -> None:
    served = hub.stored(REPO, "big/big-Q4-00002-of-00003.gguf")
    served.cut_at, served.cut_times = 40_000, 99
    request = wanted("big/*")
    offer = shop.cache.resolve(request)
    with pytest.raises(Retryable):
        shop.cache.fetch(request, offer, shop.told.append)
    assert shop.cache.find(request) is None
    assert shop.cache.resolve(request).size_bytes == 100_002 + 100_003
    assert shop.cache.partial_bytes(request) == 40_000
    served.cut_times = 0
    assert len(shop.fetch(request).files) == 3
    assert hub.sent_by_storage == sum(map(len, SPLIT.values()))


def test_the_order_of_patterns_means_nothing() -> None:
    assert wanted("a", "b").key == wanted("b", "a").key != wanted("a").key


def test_a_moved_branch_is_only_seen_on_asking(shop: Bench, hub: FakeHub) -> None:
    first = shop.fetch(wanted("*Q4*K_M*"))
    hub.commit(REPO, {**FILES, "README.md": b"# new"})
    assert shop.cache.resolve(wanted("*Q4*K_M*")).identity == first.identity
    hub.commit(REPO, {**FILES, "tiny-Q4_K_M.gguf": Q8})
    assert shop.cache.find(wanted("*Q4*K_M*")) == first
    offer = shop.cache.resolve(wanted("*Q4*K_M*"))
    assert offer.identity == f"sha256:{sha256(Q8)}"
    assert shop.cache.fetch(wanted("*Q4*K_M*"), offer, shop.told.append).sha256 == sha256(Q8)


def test_a_commit_stays_what_it_was(shop: Bench, hub: FakeHub) -> None:
    commit = hub.commit(REPO, FILES)
    hub.commit(REPO, {"tiny-Q4_K_M.gguf": Q8})
    assert shop.fetch(wanted("*Q4_K_M*", revision=commit)).sha256 == sha256(Q4)


def test_wrong_bytes_from_storage_never_arrive_anywhere(shop: Bench, hub: FakeHub) -> None:
    hub.stored(REPO, "tiny-Q4_K_M.gguf").wrong_first_byte = True
    with pytest.raises(IntegrityError, match=sha256(Q4)):
        shop.fetch(wanted("*Q4_K_M*"))
    assert shop.files("blobs") == []
    assert not Path(shop.environ["HF_HUB_CACHE"]).exists()


def test_another_digest_than_declared_is_refused_before_a_byte_moves(shop: Bench, hub: FakeHub) -> None:
    with pytest.raises(IntegrityError, match="but the hub says"):
        shop.cache.resolve(wanted("*Q4_K_M*", sha256="0" * 64))
    with pytest.raises(Terminal, match=r"spec\.sha256 is of one file"):
        shop.cache.resolve(wanted("big/*", sha256="0" * 64))
    assert shop.fetch(wanted("*Q4_K_M*", sha256=sha256(Q4))).sha256 == sha256(Q4)


@pytest.mark.parametrize(
    ("files", "detail", "hint"),
    [
        (["*Q3*"], "no file of acme/tiny-GGUF matches", "the repository has big/big-Q4-00001-of-00003.gguf"),
        (["tiny*"], "2 models of acme/tiny-GGUF match: tiny-Q4_K_M.gguf, tiny-Q8_0.gguf", "narrow"),
        ([], "3 models of", "narrow"),
    ],
)
def test_a_choice_that_is_none_or_too_many(shop: Bench, files: list[str], detail: str, hint: str) -> None:
    with pytest.raises(Terminal, match=detail) as caught:
        shop.cache.resolve(wanted(*files))
    assert hint in caught.value.hint


def test_a_split_with_a_part_missing(shop: Bench, hub: FakeHub) -> None:
    hub.commit(REPO, dict(list(SPLIT.items())[:2]))
    with pytest.raises(Terminal, match="lacks parts 3 of 3"):
        shop.cache.resolve(wanted("*"))


def test_names_that_lead_out_of_the_repository_are_refused(shop: Bench, hub: FakeHub) -> None:
    hub.commit(REPO, {"../../evil.gguf": Q4})
    with pytest.raises(Terminal, match="lead out"):
        shop.cache.resolve(wanted("*"))


def test_what_is_not_there_or_not_for_us(shop: Bench, hub: FakeHub) -> None:
    with pytest.raises(Terminal, match="has no revision v9") as caught:
        shop.cache.resolve(wanted("*", revision="v9"))
    assert caught.value.code == "no-such-source"
    hub.gate(REPO)
    with pytest.raises(Terminal, match="is gated") as caught:
        shop.cache.resolve(wanted("*"))
    assert "accept its conditions" in caught.value.hint
    missing = Request(Source(hugging_face=HuggingFaceSource(repo="acme/nothing")))
    with pytest.raises(Terminal, match="is not there") as caught:
        shop.cache.resolve(missing)
    assert "private" in caught.value.hint


def test_a_busy_hub_and_a_dead_one_are_retryable(shop: Bench, hub: FakeHub) -> None:
    info = hub.file(f"/api/models/{REPO}/revision/main")
    info.status, info.retry_after = 429, "3600"
    with pytest.raises(Retryable, match="HTTP 429"):
        shop.cache.resolve(wanted("*Q4_K_M*"))
    info.status = 500
    with pytest.raises(Retryable, match="HTTP 500"):
        shop.cache.resolve(wanted("*Q4_K_M*"))
    shop.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    with pytest.raises(Retryable):
        shop.cache.resolve(wanted("*Q4_K_M*"))


def test_a_name_the_hub_would_never_give(shop: Bench) -> None:
    with pytest.raises(Terminal, match="acme--x/y"):
        shop.cache.resolve(Request(Source(hugging_face=HuggingFaceSource(repo="acme--x/y"))))


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/b"}, "/b"),
        ({"HF_HOME": "/c"}, "/c/hub"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/huggingface/hub"),
        ({}, "{home}/.cache/huggingface/hub"),
    ],
)
def test_the_other_cache_is_where_the_client_looks(tmp_path: Path, environ: dict[str, str], folder: str) -> None:
    given = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], **environ}
    code = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
    words = [sys.executable, "-c", code]
    theirs = subprocess.run(words, env=given, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    assert str(hub_cache_folder(given)) == theirs == folder.format(home=tmp_path)


def test_a_token_by_reference_or_from_the_log_in(shop: Bench, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit(REPO, FILES, token="canary-token")
    with pytest.raises(Terminal, match="HTTP 401"):
        shop.fetch(wanted("*Q4_K_M*"))
    assert shop.fetch(wanted("*Q4_K_M*"), "canary-token").sha256 == sha256(Q4)
    assert {asked.authorization for asked in hub.log if asked.path.startswith("/storage/")} == {""}
    del shop.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"]
    monkeypatch.setenv("HF_TOKEN", "canary-token")
    assert shop.fetch(wanted("*Q8_0*")).sha256 == sha256(Q8)
    written = b"".join(path.read_bytes() for folder in ("records", "memo") for path in shop.files(folder))
    assert b"canary" not in written


def test_what_we_bring_the_real_client_finds(shop: Bench, hub: FakeHub) -> None:
    from huggingface_hub import hf_hub_download, snapshot_download

    cache = shop.environ["HF_HUB_CACHE"]
    artifact = shop.fetch(wanted("*Q4_K_M*"))
    shop.fetch(wanted("big/*"))
    asked = len(hub.log)
    path = hf_hub_download(REPO, "tiny-Q4_K_M.gguf", cache_dir=cache, endpoint=hub.url, local_files_only=True)
    assert Path(path).samefile(artifact.path)
    folder = snapshot_download(REPO, cache_dir=cache, endpoint=hub.url, local_files_only=True)
    found = {f.relative_to(folder).as_posix() for f in Path(folder).glob("**/*.gguf")}
    assert found == {"tiny-Q4_K_M.gguf", *SPLIT}
    assert len(hub.log) == asked


def test_what_the_real_client_brought_is_not_brought_again(shop: Bench, hub: FakeHub) -> None:
    from huggingface_hub import hf_hub_download

    theirs = hf_hub_download(REPO, "tiny-Q4_K_M.gguf", cache_dir=shop.environ["HF_HUB_CACHE"], endpoint=hub.url)
    sent = hub.sent_by_storage
    assert shop.cache.resolve(wanted("*Q4_K_M*")).size_bytes == 0
    artifact = shop.fetch(wanted("*Q4_K_M*"))
    assert Path(artifact.path).samefile(theirs)
    assert shop.told[-1].phase == "verify"
    assert hub.sent_by_storage == sent


def test_damage_in_the_other_cache_is_found_out_and_left_alone(shop: Bench, hub: FakeHub) -> None:
    """The client accepts wrong bytes of the right length; we do not."""
    from huggingface_hub import hf_hub_download

    hub.stored(REPO, "tiny-Q4_K_M.gguf").wrong_first_byte = True
    theirs = Path(hf_hub_download(REPO, "tiny-Q4_K_M.gguf", cache_dir=shop.environ["HF_HUB_CACHE"], endpoint=hub.url))
    damaged = theirs.read_bytes()
    hub.stored(REPO, "tiny-Q4_K_M.gguf").wrong_first_byte = False
    artifact = shop.fetch(wanted("*Q4_K_M*"))
    assert Path(artifact.path).read_bytes() == Q4
    assert theirs.read_bytes() == damaged


def test_another_file_system_gets_a_copy(shop: Bench, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import hf_hub_download

    hf_hub_download(REPO, "tiny-Q4_K_M.gguf", cache_dir=shop.environ["HF_HUB_CACHE"], endpoint=hub.url)
    real = os.link

    def across(source: Path, target: Path) -> None:
        if (shop.root in Path(source).parents) != (shop.root in Path(target).parents):
            raise OSError(18, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "link", across)
    sent = hub.sent_by_storage
    artifact = shop.fetch(wanted("*Q4_K_M*"))
    assert Path(artifact.path).read_bytes() == Q4
    assert Path(artifact.path).stat().st_nlink == 1
    assert hub.sent_by_storage == sent
    assert shop.fetch(wanted("*Q8_0*")).sha256 == sha256(Q8)


def test_a_cache_that_cannot_be_written_to_is_no_fault(shop: Bench, tmp_path: Path) -> None:
    (tmp_path / "hf").write_text("a file, not a folder")
    assert shop.fetch(wanted("*Q4_K_M*")).sha256 == sha256(Q4)


def test_offline_the_other_cache_says_what_there_is(shop: Bench, hub: FakeHub) -> None:
    from huggingface_hub import hf_hub_download

    hf_hub_download(REPO, "tiny-Q4_K_M.gguf", cache_dir=shop.environ["HF_HUB_CACHE"], endpoint=hub.url)
    online = shop.cache.resolve(wanted("*Q4_K_M*"))
    asked = len(hub.log)
    shop.environ["HF_HUB_OFFLINE"] = "1"
    offer = shop.cache.resolve(wanted("*Q4_K_M*"))
    assert (offer.identity, offer.size_bytes) == (online.identity, 0)
    assert Path(shop.cache.fetch(wanted("*Q4_K_M*"), offer, shop.told.append).path).read_bytes() == Q4
    with pytest.raises(Terminal) as caught:
        shop.cache.resolve(wanted("*", revision="v1"))
    assert caught.value.code == "offline"
    assert len(hub.log) == asked


def test_collecting_frees_the_bytes_also_in_the_other_cache(shop: Bench) -> None:
    artifact = shop.fetch(wanted("big/*"))
    size = artifact.size_bytes
    layout = shop.cache.layout
    items = garbage(layout, shop.clock, timedelta(0))
    assert sum(item.size_bytes for item in items) == size
    assert len(collect(layout, shop.clock, items, timedelta(0))) == 3
    assert list((shop.root / "sets").iterdir()) == []
    assert [path for path in Path(shop.environ["HF_HUB_CACHE"]).glob("**/*") if path.is_symlink()] == []
    assert list(Path(shop.environ["HF_HUB_CACHE"]).glob("*/blobs/*")) == []


def test_deleting_frees_the_bytes_but_never_the_clients_own(shop: Bench, hub: FakeHub) -> None:
    from huggingface_hub import hf_hub_download

    theirs = hf_hub_download(REPO, "tiny-Q4_K_M.gguf", cache_dir=shop.environ["HF_HUB_CACHE"], endpoint=hub.url)
    for request, freed in ((wanted("*Q4_K_M*"), 0), (wanted("*Q8_0*"), len(Q8))):
        shop.fetch(request)
        pin = Pin("i1", "lab", "qwen3", request.key, "{}")
        shop.cache.pin(pin)
        assert shop.cache.unpin(pin, delete_bytes=True) == freed
        assert shop.cache.find(request) is None
    assert Path(theirs).read_bytes() == Q4

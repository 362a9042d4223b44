"""Proxies, trust, and redirects across schemes."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from nexus_ctl.artifacts.transfer import transport
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.artifact import Request
from nexus_ctl.resources.model import Source
from tests.fakes.http_origin import HttpOrigin
from tests.nexus_ctl.artifacts.bench import Bench

CONTENT = b"weights " * 1000


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    """Proxies and trust are read once a process."""
    transport._opener.cache_clear()
    transport._trust.cache_clear()
    yield
    transport._opener.cache_clear()
    transport._trust.cache_clear()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost with its key, signed by itself."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs the openssl program to make a certificate")
    path = tmp_path / "certificate.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(path), "-out", str(tmp_path / "public.pem")]
    subprocess.run([program, *words], check=True, capture_output=True, timeout=60)
    path.write_text(path.read_text() + (tmp_path / "public.pem").read_text())
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[HttpOrigin]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with HttpOrigin(context) as server:
        yield server


def at(url: str) -> Request:
    return Request(Source(url=url))


def test_a_proxy_named_in_the_environment_is_used(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.origin.put("http://models.example/model.gguf", CONTENT)
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", bench.origin.url)
    assert bench.fetch(at("http://models.example/model.gguf")).size_bytes == len(CONTENT)


def test_a_host_excepted_from_the_proxy_is_asked_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.origin.put("/model.gguf", CONTENT)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert bench.fetch(bench.url()).size_bytes == len(CONTENT)


def test_a_certificate_nobody_vouches_for_is_refused(bench: Bench, secure: HttpOrigin) -> None:
    secure.put("/model.gguf", CONTENT)
    with pytest.raises(Terminal) as caught:
        bench.fetch(at(f"{secure.url}/model.gguf"))
    assert caught.value.code == "untrusted-certificate"
    assert "SSL_CERT_FILE" in caught.value.hint


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"])
def test_the_machine_says_whom_to_trust(
    bench: Bench, secure: HttpOrigin, certificate: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    secure.put("/model.gguf", CONTENT)
    monkeypatch.setenv(variable, str(certificate.with_name("public.pem")))
    assert bench.fetch(at(f"{secure.url}/model.gguf")).size_bytes == len(CONTENT)


@pytest.mark.parametrize("name", ["a b.gguf", "größe.gguf", "a%20b.gguf", "a+b(1)&c=d;e.gguf", "a?x=y z"])
def test_addresses_as_people_write_them(bench: Bench, name: str) -> None:
    bench.origin.put("/" + quote(name, safe="%?=+()&;"), CONTENT)
    assert bench.fetch(bench.url("/" + name)).size_bytes == len(CONTENT)


@pytest.mark.parametrize(
    "url", ["http://host:port/a", "http:///a", "http://[::1/a", "http://ho st/a", "http://" + "x" * 70 + "/a"]
)
def test_what_is_no_address_is_said_so(bench: Bench, url: str) -> None:
    with pytest.raises(Terminal) as caught:
        bench.cache.resolve(at(url))
    assert caught.value.code == "no-such-source"


def test_never_from_https_to_http(
    bench: Bench, secure: HttpOrigin, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("public.pem")))
    secure.put("/model.gguf", redirect=bench.origin.put("/model.gguf", CONTENT))
    with pytest.raises(Terminal, match="which is not followed"):
        bench.fetch(at(f"{secure.url}/model.gguf"))
    bench.origin.put("/up", redirect=secure.put("/whole.gguf", CONTENT))
    assert bench.fetch(bench.url("/up")).size_bytes == len(CONTENT)

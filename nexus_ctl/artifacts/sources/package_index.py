"""Reading package indexes: which files a project has, with address, digest and size.

Speaks the simple API as JSON (PEP 691) and HTML (PEP 503), folders of wheels, and pages of links, over http(s) or
from disk. Answers are bounded in length and parsed without running anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

from nexus_ctl.artifacts.source import Means
from nexus_ctl.artifacts.transfer.address import display, with_user
from nexus_ctl.artifacts.transfer.transport import opened, persist
from nexus_ctl.errors import Terminal

_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_LIMIT_BYTES = 64 << 20
"""The largest projects on the public index have answers of some 10 MB."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file on an index. `url` is `file:` for one on this machine, and may hold the index's credentials."""

    filename: str
    url: str
    sha256: str | None
    size_bytes: int | None


def project_files(index: str, package: str, means: Means) -> tuple[Listed, ...]:
    """The files of `package` on the simple index `index`; none when the index does not have it."""
    name = re.sub(r"[-_.]+", "-", package).lower()
    return _page(f"{index}/{name}/", means)


def linked_files(place: str, means: Means) -> tuple[Listed, ...]:
    """The files that a `find-links` place holds: a folder, or a page of links."""
    if urlsplit(place).scheme in ("http", "https"):
        return _page(place, means)
    folder = local_path(place) if place.startswith("file:") else Path(place).expanduser()
    if folder.is_dir():
        return tuple(Listed(file.name, file.absolute().as_uri(), None, None) for file in sorted(folder.iterdir()))
    return _page(folder.absolute().as_uri(), means)


def local_path(url: str) -> Path:
    """The path of a `file:` address."""
    return Path(url2pathname(urlsplit(url).path))


def _page(url: str, means: Means) -> tuple[Listed, ...]:
    if url.startswith("file:"):
        file = local_path(url)
        file = file / "index.html" if file.is_dir() or url.endswith("/") else file
        return tuple(_html(file.read_text(encoding="utf-8"), file.as_uri())) if file.is_file() else ()
    try:
        kind, body, base = persist(lambda: _get(url, means.patience.stall_seconds), means)
    except Terminal as error:
        if error.code == "no-such-source":
            return ()
        raise
    base = with_user(base, url)
    try:
        found = _json(json.loads(body), base) if kind.endswith("+json") else _html(body.decode(), base)
        return tuple(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Terminal(f"{display(url)} is no package index: {error}") from error


def _get(url: str, stall_seconds: float) -> tuple[str, bytes, str]:
    with opened(url, headers={"Accept": _ACCEPT}, stall_seconds=stall_seconds) as reply:
        return reply.header("Content-Type").partition(";")[0].strip(), reply.read(_LIMIT_BYTES), reply.url


def _json(answer: dict[str, Any], base: str) -> Iterator[Listed]:
    for file in answer["files"]:
        url = with_user(urljoin(base, file["url"]), base)
        yield Listed(file["filename"], url, file.get("hashes", {}).get("sha256"), file.get("size"))


def _html(text: str, base: str) -> Iterator[Listed]:
    links = _Links()
    links.feed(text)
    for link in links.found:
        url, _, fragment = urljoin(urljoin(base, links.base), link).partition("#")
        digest = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment)
        filename = unquote(urlsplit(url).path).rpartition("/")[2]
        yield Listed(filename, with_user(url, base), digest[1] if digest else None, None)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if href and tag == "a":
            self.found.append(href)
        elif href and tag == "base":
            self.base = href

"""The catalog: what the hub says of models that may not be here, remembered on disk, and the headers of their files.

Called by the commands of the registry (and the API after them); the values it gives are `resources.catalog`'s. It
downloads no model: cards, listings, and of model files the header. Whatever the hub sends is bounded by `client`,
and made plain text here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar
from urllib.parse import quote

from nexus_ctl.artifacts.headers.gguf import HeaderRead, read_file
from nexus_ctl.artifacts.headers.memory import remembered
from nexus_ctl.artifacts.headers.window import BadHeader
from nexus_ctl.artifacts.hub.card import EXPAND, SEARCH_EXPAND, card_of, found_of
from nexus_ctl.artifacts.hub.client import Conversation, endpoint_of, is_offline, login_token
from nexus_ctl.artifacts.hub.listing import files_at
from nexus_ctl.artifacts.hub.memory import HubMemory
from nexus_ctl.artifacts.records import Layout
from nexus_ctl.artifacts.shelf import Shelf
from nexus_ctl.artifacts.source import Means, Part
from nexus_ctl.artifacts.transfer.transport import persist
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.catalog import Found, Fresh, Quantization, Repository, SearchResult
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.foreign_text import paragraphs
from nexus_ctl.resources.weights import GgufHeader, merge_shards

T = TypeVar("T")

ATTEMPTS, LONGEST_WAIT_SECONDS = 3, 20.0
"""Somebody sits and waits: a hub that does not answer is given up sooner than a download's."""
CARD_CHARACTERS = 200_000
"""Of the text of a card."""
SORTS: Mapping[str, str] = {
    "downloads": "downloads",
    "likes": "likes",
    "trending": "trending_score",
    "updated": "last_modified",
    "created": "created_at",
}
"""Orders of a search → what the hub calls them."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for."""

    words: tuple[str, ...]
    limit: int = 20
    sort: str = "downloads"
    gguf_only: bool = False
    author: str = ""
    task: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The hub as the environment names it, with a memory in the model cache. Methods raise Terminal and Retryable."""

    layout: Layout
    means: Means

    def search(self, query: Query, *, refresh: bool = False) -> SearchResult:
        """The hub's answer to a query, in its order."""

        def ask(talk: Conversation) -> tuple[Found, ...]:
            with talk.api() as api:
                models = api.list_models(
                    search=" ".join(query.words) or None,
                    filter="gguf" if query.gguf_only else None,
                    author=query.author or None,
                    pipeline_tag=query.task or None,
                    sort=SORTS[query.sort],  # type: ignore[arg-type]  # its own words
                    limit=query.limit,
                    expand=SEARCH_EXPAND,  # type: ignore[arg-type]
                )
                return tuple(found_of(info) for info in islice(models, query.limit))

        found, fresh, _ = self._asked(ask, None, refresh)
        return SearchResult(found, fresh)

    def repository(
        self, repo: str, revision: str = "main", *, token: str | None = None, refresh: bool = False
    ) -> Repository:
        """Card and files of a repository."""

        def ask(talk: Conversation) -> Repository:
            with talk.api(repo, revision) as api:
                info = api.model_info(repo, revision=revision, expand=EXPAND)  # type: ignore[arg-type]
                commit, files = files_at(api, repo, info.sha)
                return Repository(repo, revision, commit, card_of(info), files, Fresh(self.means.clock.now()))

        found, fresh, requests = self._asked(ask, token, refresh)
        return replace(found, fresh=fresh, requests=requests)

    def card_text(self, repository: Repository, *, token: str | None = None) -> str:
        """The text of the card below its front matter; "" when the repository has none."""
        if not any(file.name == "README.md" for file in repository.files):
            return ""
        path = f"/{repository.repo}/resolve/{repository.commit}/README.md"

        def ask(talk: Conversation) -> str:
            with talk.api(repository.repo, repository.revision):
                return talk.get_text(path)

        text, _, _ = self._asked(ask, token, refresh=False)
        return paragraphs(_without_front_matter(text), CARD_CHARACTERS)

    def header(self, repository: Repository, wanted: Quantization, *, token: str | None = None) -> HeaderRead:
        """The header of a model of the hub: from the cache, from memory by its digests, else by range requests.

        What it cost is nothing in the first two cases. Raises BadHeader as well.
        """
        blobs = [self.layout.blob(digest) for digest in wanted.digests]
        if blobs and all(blob.exists() for blob in blobs):
            return HeaderRead(_merged([read_file(blob).header for blob in blobs]), 0, 0)

        def read() -> HeaderRead:
            if is_offline(self.means.environ):
                detail = f"offline, and the header of {wanted.files[0].name} was not read before"
                raise Terminal(detail, hint="unset HF_HUB_OFFLINE", code="offline")
            base = f"{endpoint_of(self.means.environ)}/{repository.repo}/resolve/{repository.commit}"
            urls = [f"{base}/{quote(file.name)}" for file in wanted.files]
            return self.header_at(urls, token=token or login_token(self.means.environ))

        return remembered(self._shelf, [file.sha256 for file in wanted.files], read)

    def checkpoint(self, repository: Repository, *, token: str | None = None) -> Checkpoint:
        """Configuration and tensor table of a repository of safetensors, by range requests; tables that were read
        before cost nothing. Raises BadHeader as well."""
        from nexus_ctl.artifacts.headers.checkpoint import remote_checkpoint

        if is_offline(self.means.environ):
            raise Terminal(f"offline, and {repository.repo} is not here", hint="unset HF_HUB_OFFLINE", code="offline")
        base = f"{endpoint_of(self.means.environ)}/{repository.repo}/resolve/{repository.commit}"
        parts = [Part(one.name, f"{base}/{quote(one.name)}", one.size_bytes, one.sha256) for one in repository.files]
        return remote_checkpoint(parts, token or login_token(self.means.environ), self.means, self._shelf)

    def header_at(self, urls: Sequence[str], *, token: str | None = None) -> HeaderRead:
        """The header of the model at these addresses, by range requests. Raises BadHeader as well."""
        from nexus_ctl.artifacts.headers.remote import read_urls

        return read_urls(urls, self.means, token)

    @property
    def _shelf(self) -> Shelf:
        return Shelf(self.layout.hub)

    def _asked(self, ask: Callable[[Conversation], T], token: str | None, refresh: bool) -> tuple[T, Fresh, int]:
        """(what `ask` makes of the answers, how old they are, requests sent), patiently."""
        environ = self.means.environ
        offline = is_offline(environ)
        token = token or (None if offline else login_token(environ))

        def attempt() -> tuple[T, Fresh, int]:
            memory = HubMemory(self._shelf, self.means.clock, offline, refresh)
            talk = Conversation(endpoint_of(environ), token, memory)
            made = ask(talk)
            memory.keep()
            return made, Fresh(memory.as_of or self.means.clock.now(), memory.why), talk.requests

        patience = self.means.patience
        patience = replace(
            patience,
            failures=min(patience.failures, ATTEMPTS),
            longest_asked_seconds=min(patience.longest_asked_seconds, LONGEST_WAIT_SECONDS),
        )
        return persist(attempt, replace(self.means, patience=patience))


def _merged(headers: Sequence[GgufHeader]) -> GgufHeader:
    try:
        return merge_shards(headers) if len(headers) > 1 else headers[0]
    except ValueError as error:
        raise BadHeader(str(error)) from error


def _without_front_matter(text: str) -> str:
    """A card without the YAML between `---` lines that it may begin with."""
    if not text.startswith("---"):
        return text
    _, mark, rest = text[3:].partition("\n---")
    return rest.partition("\n")[2] if mark else text

"""The one door to the Hugging Face client: how it is set up, what it may be sent to, whose errors come out.

The source of files and the catalog both ask through `Conversation`. The client has one session for a whole process
and neither time-out nor bound; ours sends requests to the endpoint alone (a listing's "next page" may name any host,
and would be given the token), reads an answer up to a limit, and turns "not now" into our own error at once, so that
pauses are ours and never the server's. What a conversation remembers is `memory`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from nexus_ctl import __version__
from nexus_ctl.artifacts.transfer.address import bare, display, server
from nexus_ctl.artifacts.transfer.transport import BUSY, Unavailable
from nexus_ctl.errors import NexusError, Terminal

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import HfApi

ENDPOINT = "https://huggingface.co"
TIMEOUT_SECONDS = 60.0
ANSWER_BYTES = 16 << 20
"""The largest answer that is read; a page of a thousand files with their digests takes 300 KiB."""
REQUESTS = 200
"""More requests than this in one conversation mean a listing that never ends."""
_METADATA, _CONTENT = "/api/models", "/resolve/"
"""Of a hub we ask this and nothing else: the client, left alone, also fetches a list of AI agents to name itself by."""
_RESET = re.compile(r"\bt=(\d+)")


class Answers(Protocol):
    """Something that may know the answer to a request already."""

    def answer(self, request: httpx2.Request, ask: Callable[[], httpx2.Response]) -> httpx2.Response:
        """The answer: remembered, or by `ask`, which raises Unavailable or Terminal."""
        ...


@dataclass
class Conversation:
    """The requests that one question to the hub at `endpoint` leads to."""

    endpoint: str
    token: str | None = field(default=None, repr=False)
    answers: Answers | None = None
    requests: int = 0
    """Sent so far, remembered answers apart."""

    @contextmanager
    def api(self, repo: str = "", revision: str = "") -> Iterator[HfApi]:
        """The client, for the length of the block. Whatever it raises there leaves as Terminal or Unavailable."""
        from huggingface_hub import HfApi

        _session()
        mark = _CURRENT.set(self)
        try:
            with _translated(f"{display(self.endpoint)}/{repo}".rstrip("/"), revision):
                yield HfApi(
                    endpoint=bare(self.endpoint),
                    token=self.token or False,
                    library_name="nexusctl",
                    library_version=__version__,
                )
        finally:
            _CURRENT.reset(mark)

    def get_text(self, path: str) -> str:
        """The text at `path` (`/owner/name/resolve/...`) of the endpoint; only within `api`'s block."""
        from huggingface_hub import get_session
        from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # public, yet not in __all__

        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        response = get_session().get(bare(self.endpoint) + path, headers=headers)
        hf_raise_for_status(response)
        return response.text

    def send(self, request: httpx2.Request, send: Callable[[httpx2.Request], httpx2.Response]) -> httpx2.Response:
        """The answer to one request of the client's."""

        def ask() -> httpx2.Response:
            self.requests += 1
            if self.requests > REQUESTS:
                raise Terminal(f"{display(self.endpoint)}: the listing does not end", code="bad-answer")
            return _whole(request, send)

        path = request.url.path.removeprefix(urlsplit(self.endpoint).path)
        ours = path.startswith(_METADATA) or _CONTENT in path
        if not ours or server(str(request.url)) != server(self.endpoint):
            place = display(str(request.url.copy_with(query=None)))
            raise Terminal(f"{display(self.endpoint)} leads to {place}, which is not asked", code="bad-answer")
        return ask() if self.answers is None else self.answers.answer(request, ask)


_CURRENT: ContextVar[Conversation | None] = ContextVar("conversation", default=None)


def is_offline(environ: Mapping[str, str]) -> bool:
    """Whether the client's own variables forbid to ask."""
    return is_on(environ, "HF_HUB_OFFLINE") or is_on(environ, "TRANSFORMERS_OFFLINE")


def is_on(environ: Mapping[str, str], name: str) -> bool:
    """A variable as the client reads truth."""
    return environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")


def endpoint_of(environ: Mapping[str, str]) -> str:
    """The hub, or the mirror that `HF_ENDPOINT` names."""
    return environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")


def login_token(environ: Mapping[str, str]) -> str | None:
    """The token that the client is logged in with; None without one, or where it may not be used unasked."""
    from huggingface_hub import get_token

    return None if is_on(environ, "HF_HUB_DISABLE_IMPLICIT_TOKEN") else get_token()


@cache
def _session() -> None:
    """Make the client's session ours, once a process; outside of conversations it behaves as before."""
    import httpx2
    from huggingface_hub import set_client_factory

    class Session(httpx2.Client):
        """Hands the requests of a conversation to it."""

        def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
            conversation = _CURRENT.get()
            if conversation is None or options.get("stream"):
                return httpx2.Client.send(self, request, **options)
            options["stream"] = True
            return conversation.send(request, lambda wanted: httpx2.Client.send(self, wanted, **options))

    set_client_factory(lambda: Session(follow_redirects=True, timeout=TIMEOUT_SECONDS))


def _whole(request: httpx2.Request, send: Callable[[httpx2.Request], httpx2.Response]) -> httpx2.Response:
    """The answer with its body, read up to the limit. Raises Unavailable, Terminal."""
    import httpx2

    place = display(str(request.url.copy_with(query=None)))
    try:
        response = send(request)
        try:
            if response.status_code in BUSY:
                raise Unavailable(f"{place}: HTTP {response.status_code}", _after_seconds(response.headers))
            body = bytearray()
            for piece in response.iter_bytes():
                body += piece
                if len(body) > ANSWER_BYTES:
                    raise Terminal(f"{place}: the answer is longer than {ANSWER_BYTES} bytes", code="bad-answer")
        finally:
            response.close()
    except httpx2.TransportError as error:
        raise Unavailable(f"{place}: {error or type(error).__name__}") from error
    except (httpx2.DecodingError, httpx2.TooManyRedirects) as error:
        raise Terminal(f"{place}: {error}", code="bad-answer") from error
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_WIRE]
    return httpx2.Response(response.status_code, headers=headers, content=bytes(body), request=response.request)


_OF_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def _after_seconds(headers: httpx2.Headers) -> float | None:
    """How long the hub asks to be left alone: `Retry-After`, or the `t` of its `RateLimit`."""
    asked = headers.get("Retry-After", "")
    if asked.isdigit():
        return float(asked)
    reset = _RESET.search(headers.get("RateLimit", ""))
    return float(reset[1]) if reset else None


@contextmanager
def _translated(place: str, revision: str) -> Iterator[None]:
    """Foreign errors end here."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except NexusError:
        raise
    except errors.GatedRepoError as error:
        hint = (
            f"accept its conditions at {place} and give a token of that account: spec.source.token, or `hf auth login`"
        )
        raise Terminal(f"{place} is gated", hint=hint, code="gated") from error
    except errors.RevisionNotFoundError as error:
        raise Terminal(f"{place} has no revision {revision}", code="no-such-source") from error
    except errors.RepositoryNotFoundError as error:
        hint = "check the name; a private repository also looks so without the right token (spec.source.token)"
        raise Terminal(f"{place} is not there", hint=hint, code="no-such-source") from error
    except errors.EntryNotFoundError as error:
        raise Terminal(f"{place} has no such file", code="no-such-source") from error
    except errors.HfHubHTTPError as error:
        raise _refusal(place, error.response) from error
    except errors.OfflineModeIsEnabled as error:
        raise Terminal(f"{place}: the Hugging Face client is offline", hint="unset HF_HUB_OFFLINE") from error
    except errors.HFValidationError as error:
        raise Terminal(f"{place}: {error}", code="no-such-source") from error
    except httpx2.HTTPError as error:
        raise Unavailable(f"{place}: {error or type(error).__name__}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        # The client builds its values from whatever the JSON holds, and trusts it to have the right form.
        detail = f"{place}: the hub's answer has another form than the client knows ({type(error).__name__})"
        raise Terminal(detail, hint="is HF_ENDPOINT a hub?", code="bad-answer") from error


def _refusal(place: str, response: httpx2.Response) -> Unavailable | Terminal:
    status = response.status_code
    said = f"{place}: HTTP {status}"
    if status in BUSY:
        return Unavailable(said, _after_seconds(response.headers))
    if status in (401, 403):
        return Terminal(said, hint="the token is not accepted, or may not read this", code="forbidden")
    return Terminal(said)

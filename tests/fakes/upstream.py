"""A scripted engine: a raw asyncio server that answers as a test says, and remembers what it saw."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Received:
    """One request as it came: the raw head, its fields (names in lower case) and the body."""

    head: bytes
    headers: dict[str, str]
    body: bytes
    connection: int
    """Which of the engine's connections carried it, counted from 0."""

    def json(self) -> dict[str, object]:
        """The body as an object."""
        value: dict[str, object] = json.loads(self.body)
        return value


Script = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def http(body: bytes, *, status: str = "200 OK", extra: Sequence[str] = ("content-type: application/json",)) -> bytes:
    """A whole HTTP answer as bytes."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *extra, "", ""]
    return "\r\n".join(lines).encode() + body


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked transfer coding; the last one for b"" ."""
    return b"%x\r\n%b\r\n" % (len(data), data)


EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def answers(body: bytes, **options: object) -> Script:
    """Always the same answer."""

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(http(body, **options))  # type: ignore[arg-type]

    return script


def insists(names: Sequence[str], script: Script) -> Script:
    """`script` where `model` is one of `names`; else 404, as vLLM answers a name that it does not serve."""

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        model = request.json().get("model")
        if model in names:
            await script(request, writer)
            return
        error = {
            "message": f"The model `{model}` does not exist.",
            "type": "NotFoundError",
            "param": "model",
            "code": 404,
        }
        writer.write(http(json.dumps({"error": error}).encode(), status="404 Not Found"))

    return answer


def streams(events: Sequence[bytes], gap_seconds: float = 0.0) -> Script:
    """A stream of events, one chunk and one write each, with a pause after each."""

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENT_STREAM)
        for event in events:
            writer.write(chunk(event))
            await writer.drain()
            await asyncio.sleep(gap_seconds)
        writer.write(chunk(b""))

    return script


@dataclass
class Upstream:
    """`async with Upstream(script) as engine`. `connections`: accepted ever; `cut`: closed by the peer meanwhile."""

    script: Script
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    port: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is looked at whenever a request or a connection comes or goes."""
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(condition)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = self.connections
        self.connections += 1
        self.open += 1
        await self._tell()
        try:
            while await self._serve(number, reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            self.open -= 1
            await self._tell()
            writer.close()

    async def _serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")[1:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Received(head, headers, body, number)
        self.requests.append(request)
        await self._tell()
        await self._beside_eof(self.script(request, writer), reader, writer)
        if writer.is_closing():
            return False
        await writer.drain()
        return True

    async def _beside_eof(
        self, script: Awaitable[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Run the script, but no further once the peer is gone, as llama-server stops generating."""
        running = asyncio.ensure_future(script)
        while not running.done():
            gone = reader.at_eof() or reader.exception() is not None or writer.transport.is_closing()
            if gone and not running.done():
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                if not writer.is_closing():
                    raise ConnectionResetError
                return
            await asyncio.wait([running], timeout=0.01)
        running.result()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

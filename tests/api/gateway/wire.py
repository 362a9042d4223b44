"""What the gateway's tests share: a gateway in the test's own event loop, and HTTP as plain bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from api.gateway.app import App
from api.gateway.request import Limits
from api.gateway.server import ClientConnection
from api.gateway.watch import Watch
from nexus_ctl.resources.routing import BackendEntry, PresetEntry, RouteEntry, Table, encode

CHAT = "/v1/chat/completions"

Run = Callable[[Coroutine[None, None, None]], None]
"""What the fixture `run` gives."""


def a_table(
    endpoints: Mapping[str, Mapping[str, str]],
    *,
    presets: Mapping[str, PresetEntry] | None = None,
    routes: Mapping[str, RouteEntry] | None = None,
    served: Mapping[str, Mapping[str, list[str]]] | None = None,
    revision: int = 1,
) -> Table:
    """A table; without `routes`, each deployment has a route of its own name."""
    own = {name: RouteEntry([name], [BackendEntry(name)]) for name in endpoints}
    return Table(
        revision=revision,
        endpoints={name: dict(replicas) for name, replicas in endpoints.items()},
        presets=dict(presets or {}),
        routes=dict(own if routes is None else routes),
        served={name: dict(replicas) for name, replicas in (served or {}).items()},
    )


@dataclass
class Gateway:
    """A gateway under test."""

    app: App
    port: int
    path: Path

    def put(self, table: Table) -> None:
        """Replace the table as the control plane does, and have it seen."""
        temporary = self.path.with_suffix(".tmp")
        temporary.write_bytes(encode(table))
        temporary.replace(self.path)
        self.app.watch.look()

    def later(self, seconds: float) -> None:
        """Sweep as if that much time had passed."""
        self.app.sweep(asyncio.get_running_loop().time() + seconds)

    async def connect(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))

    async def ask(self, body: object, path: str = CHAT, headers: Mapping[str, str] | None = None) -> Answer:
        """POST `body` over a connection of its own."""
        client = await self.connect()
        try:
            client.send(post(body, path, headers))
            return await client.answer()
        finally:
            await client.close()

    async def get(self, path: str, method: str = "GET") -> Answer:
        client = await self.connect()
        try:
            client.send(f"{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            return await client.answer(bodiless=method == "HEAD")
        finally:
            await client.close()


@asynccontextmanager
async def a_gateway(tmp_path: Path, table: Table | None, limits: Limits | None = None) -> AsyncIterator[Gateway]:
    """A running gateway; `table` None starts it without one."""
    path = tmp_path / "table.json"
    app = App(lambda loaded: Watch(path, loaded), limits or Limits())
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: ClientConnection(app.server), "127.0.0.1", 0)
    gateway = Gateway(app, listener.sockets[0].getsockname()[1], path)
    if table is not None:
        gateway.put(table)
    try:
        yield gateway
    finally:
        listener.close()
        app.server.abort()
        app.pool.close()
        await listener.wait_closed()
        while app.server.connections:
            await asyncio.sleep(0)


def post(body: object, path: str = CHAT, headers: Mapping[str, str] | None = None) -> bytes:
    """A POST as bytes; a `body` that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"host": "gateway", "content-type": "application/json", "content-length": str(len(data))} | dict(
        headers or {}
    )
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + data


@dataclass(frozen=True)
class Answer:
    """An answer read whole. `pieces` are the chunks of a chunked body."""

    status: int
    headers: dict[str, str]
    body: bytes
    pieces: tuple[bytes, ...] = ()

    def json(self) -> dict[str, object]:
        value: dict[str, object] = json.loads(self.body)
        return value

    def error(self) -> dict[str, object]:
        """The OpenAI error; also holds its mark to be where it must."""
        error = self.json()["error"]
        assert isinstance(error, dict)
        assert set(error) == {"message", "type", "param", "code", "source"}
        assert (error["source"], self.headers["x-nexus-error-source"]) == ("gateway", "gateway")
        return error


class Client:
    """One raw client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(30):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        return int(first.split()[1]), {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}

    async def piece(self) -> bytes:
        """The next chunk; b"" is the last."""
        async with asyncio.timeout(30):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def answer(self, *, bodiless: bool = False) -> Answer:
        status, headers = await self.head()
        if bodiless:
            return Answer(status, headers, b"")
        if "content-length" in headers:
            async with asyncio.timeout(30):
                return Answer(status, headers, await self.reader.readexactly(int(headers["content-length"])))
        if headers.get("transfer-encoding") == "chunked":
            pieces = []
            while piece := await self.piece():
                pieces.append(piece)
            return Answer(status, headers, b"".join(pieces), tuple(pieces))
        return Answer(status, headers, await self.rest())

    async def rest(self) -> bytes:
        """Everything until the gateway closes."""
        async with asyncio.timeout(30):
            return await self.reader.read()

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    def abort(self) -> None:
        self.writer.transport.abort()

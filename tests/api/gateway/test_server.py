"""The client's side of the gateway: what is refused, what is waited for, and how a connection ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from api.gateway.request import Limits
from nexus_ctl.resources.routing import Table
from tests.api.gateway.wire import CHAT, Run, a_gateway, a_table, post
from tests.fakes.upstream import Received, Upstream, answers, http

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
BODY = b'{"model":"chat"}'


def framed(*lines: bytes, body: bytes = b"") -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def serving(engine: Upstream) -> Table:
    return a_table({"chat": {"r": engine.url}})


MALFORMED = {
    "length and chunked": framed(b"content-length: 5", b"transfer-encoding: chunked", body=b"0\r\n\r\n"),
    "chunked and length": framed(b"transfer-encoding: chunked", b"content-length: 5", body=b"0\r\n\r\n"),
    "two lengths": framed(b"content-length: 5", b"content-length: 6", body=b"hello!"),
    "two equal lengths": framed(b"content-length: 5", b"content-length: 5", body=b"hello"),
    "length list": framed(b"content-length: 5, 5", body=b"hello"),
    "length with sign": framed(b"content-length: +5", body=b"hello"),
    "negative length": framed(b"content-length: -5", body=b"hello"),
    "length in hex": framed(b"content-length: 0x5", body=b"hello"),
    "length overflow": framed(b"content-length: 99999999999999999999999999"),
    "space before colon": framed(b"content-length : 5", body=b"hello"),
    "unknown coding": framed(b"transfer-encoding: xchunked", body=b"0\r\n\r\n"),
    "identity coding": framed(b"transfer-encoding: identity", body=b"0\r\n\r\n"),
    "gzip then chunked": framed(b"transfer-encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked then identity": framed(b"transfer-encoding: chunked, identity", body=b"0\r\n\r\n"),
    "chunked twice": framed(b"transfer-encoding: chunked", b"transfer-encoding: chunked", body=b"0\r\n\r\n"),
    "chunked in quotes": framed(b'transfer-encoding: "chunked"', body=b"0\r\n\r\n"),
    "tab before chunked": framed(b"transfer-encoding:\x0bchunked", body=b"0\r\n\r\n"),
    "chunked in HTTP/1.0": b"POST /v1/chat/completions HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative chunk": framed(b"transfer-encoding: chunked", body=b"-1\r\n\r\n0\r\n\r\n"),
    "chunk size in 0x": framed(b"transfer-encoding: chunked", body=b"0x1\r\na\r\n0\r\n\r\n"),
    "chunk size overflow": framed(b"transfer-encoding: chunked", body=b"f" * 17 + b"\r\na\r\n0\r\n\r\n"),
    "chunk too long": framed(b"transfer-encoding: chunked", body=b"1\r\nab\r\n0\r\n\r\n"),
    "chunk ends in LF": framed(b"transfer-encoding: chunked", body=b"1\na\n0\n\n"),
    "NUL in a name": framed(b"a\0b: c"),
    "NUL in a value": framed(b"a: b\0c"),
    "NUL in the path": b"POST /v1\0 HTTP/1.1\r\nhost: x\r\n\r\n",
    "CR in a value": framed(b"a: b\rc"),
    "folded header": framed(b"a: b", b" c"),
    "leading fold": framed(b" a: b"),
    "header without colon": framed(b"nonsense"),
    "empty header name": framed(b": x"),
    "bare LF": b"POST /v1/chat/completions HTTP/1.1\nhost: x\n\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": framed(b"host: y"),
    "unknown method": b"FOO /health HTTP/1.1\r\nhost: x\r\n\r\n",
    "garbage version": b"GET /health HTTP/x\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "binary": bytes(range(128, 256)),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_http_is_refused_and_reaches_no_engine(run: Run, tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with Upstream(answers(b"{}")) as engine, a_gateway(tmp_path, serving(engine)) as gateway:
            client = await gateway.connect()
            client.send(MALFORMED[name] + post({"model": "chat"}))  # what follows must not be read as a request
            got = await client.answer()
            assert (got.status, got.error()["code"]) == (400, "bad_http")
            assert got.headers["connection"] == "close"
            assert await client.rest() == b""
            await client.close()
            assert engine.requests == []

    run(scenario())


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_http_is_refused_byte_by_byte(run: Run, tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, a_table({})) as gateway:
            client = await gateway.connect()
            for n in range(len(MALFORMED[name])):
                client.send(MALFORMED[name][n : n + 1])
                await asyncio.sleep(0)
            got = await client.answer()
            assert (got.status, await client.rest()) == (400, b"")
            await client.close()

    run(scenario())


LIMITS = Limits(head_bytes=2000, body_bytes=1000)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (framed(b"a: " + b"x" * 2000), 431),
        (framed(*[b"a: b"] * 500), 431),
        (b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
        (HEAD + b"a: " + b"x" * 300_000, 431),
        (framed(b"content-length: 1001"), 413),
        (framed(b"transfer-encoding: chunked", body=b"3e9\r\n" + b"x" * 1001), 413),
        (framed(b"transfer-encoding: chunked", body=b"1\r\nx\r\n" * 1001), 413),
        (framed(b"expect: a-miracle"), 417),
        (b"GET /health HTTP/2.0\r\nhost: x\r\n\r\n", 505),
        (b"GET /health\r\n\r\n", 505),
    ],
)
def test_limits_end_the_connection(run: Run, tmp_path: Path, request_bytes: bytes, status: int) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, None, LIMITS) as gateway:
            client = await gateway.connect()
            client.send(request_bytes)
            got = await client.answer()
            assert (got.status, got.error()["source"], got.headers["connection"]) == (status, "gateway", "close")
            assert await client.rest() == b""
            await client.close()

    run(scenario())


def test_a_refusal_is_not_lost_while_the_client_still_uploads(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, None, LIMITS) as gateway:
            client = await gateway.connect()
            client.send(framed(b"content-length: 50000000"))
            for _ in range(200):
                client.send(b"x" * 65536)
                await client.writer.drain()
            assert (await client.answer()).status == 413
            await client.close()

    run(scenario())


def test_a_refused_client_that_sends_for_ever_is_cut(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, None, LIMITS) as gateway:
            client = await gateway.connect()
            client.send(framed(b"content-length: 50000000"))
            assert (await client.answer()).status == 413
            assert len(gateway.app.server.connections) == 1
            gateway.later(LIMITS.linger_seconds + 1)
            await until(lambda: not gateway.app.server.connections)
            client.abort()

    run(scenario())


def test_limits_let_through_what_just_fits(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Upstream(answers(b"{}")) as engine, a_gateway(tmp_path, serving(engine), LIMITS) as gateway:
            body = BODY.ljust(1000)
            assert (await gateway.ask(body, headers={"a": "x" * 1800})).status == 200
            assert engine.requests[0].body == body

    run(scenario())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("sizes", [[1] * len(BODY), [len(BODY)], [3, len(BODY) - 3]])
def test_a_chunked_body_arrives_whole(run: Run, tmp_path: Path, sizes: list[int]) -> None:
    async def scenario() -> None:
        async with Upstream(answers(b"{}")) as engine, a_gateway(tmp_path, serving(engine)) as gateway:
            client = await gateway.connect()
            rest, chunks = BODY, b""
            for size in sizes:
                chunks += b"%x;ext=1\r\n%b\r\n" % (size, rest[:size])
                rest = rest[size:]
            client.send(framed(b"transfer-encoding: chunked", body=chunks + b"0\r\nx-trailer: y\r\n\r\n"))
            assert (await client.answer()).status == 200
            assert engine.requests[0].body == BODY
            assert "transfer-encoding" not in engine.requests[0].headers
            assert "x-trailer" not in engine.requests[0].headers
            await client.close()

    run(scenario())


def test_expect_100_continue_is_answered_before_the_body(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Upstream(answers(b"{}")) as engine, a_gateway(tmp_path, serving(engine)) as gateway:
            client = await gateway.connect()
            for _ in range(2):
                client.send(framed(b"expect: 100-continue", b"content-length: %d" % len(BODY)))
                assert await client.head() == (100, {})
                client.send(BODY)
                assert (await client.answer()).status == 200
                assert "expect" not in engine.requests[-1].headers
            client.send(post({"model": "nope"}) + framed(b"expect: 100-continue", b"content-length: 1", body=b"x"))
            assert [(await client.answer()).status for _ in range(2)] == [404, 400]
            await client.close()

    run(scenario())


def test_a_request_to_switch_protocol_is_served_as_http_1_with_its_body(run: Run, tmp_path: Path) -> None:
    """Java's HTTP client asks for h2c with every POST; servers on httptools lose its body."""
    upgrade = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAARAAAAAAAIAAAAA")

    async def scenario() -> None:
        async with Upstream(answers(b"{}")) as engine, a_gateway(tmp_path, serving(engine)) as gateway:
            client = await gateway.connect()
            whole = framed(*upgrade, b"content-length: %d" % len(BODY), body=BODY)
            chunked = framed(*upgrade, b"transfer-encoding: chunked", body=b"10\r\n" + BODY + b"\r\n0\r\n\r\n")
            get = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
            client.send(whole + chunked + get + whole)
            assert [(await client.answer()).status for _ in range(4)] == [200] * 4
            for n in range(0, len(whole), 7):
                client.send(whole[n : n + 7])
                await asyncio.sleep(0)
            assert (await client.answer()).status == 200
            await client.close()
            assert [request.body for request in engine.requests] == [BODY] * 4
            assert not any({"upgrade", "http2-settings"} & set(request.headers) for request in engine.requests)

    run(scenario())


def test_connect_is_refused(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, None) as gateway:
            client = await gateway.connect()
            client.send(b"CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await client.answer()).status == 404
            await client.close()

    run(scenario())


def test_http_1_0_gets_what_it_can_read(run: Run, tmp_path: Path) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")

    async def scenario() -> None:
        async with Upstream(script) as engine, a_gateway(tmp_path, serving(engine)) as gateway:
            client = await gateway.connect()
            client.send(f"POST {CHAT} HTTP/1.0\r\ncontent-length: {len(BODY)}\r\n\r\n".encode() + BODY)
            got = await client.answer()
            assert (got.status, got.body, "transfer-encoding" in got.headers) == (200, b"ab", False)
            await client.close()

    run(scenario())


def test_a_client_that_asks_to_close_is_closed(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Upstream(answers(b"{}")) as engine, a_gateway(tmp_path, serving(engine)) as gateway:
            client = await gateway.connect()
            client.send(post({"model": "chat"}, headers={"connection": "close"}) + b"junk")
            assert (await client.answer()).headers["connection"] == "close"
            assert await client.rest() == b""
            await client.close()
            assert len(engine.requests) == 1

    run(scenario())


def test_bytes_that_drip_gain_no_time(run: Run, tmp_path: Path) -> None:
    """Slow loris: the deadline runs from the first byte, whatever follows."""

    async def scenario() -> None:
        async with a_gateway(tmp_path, None) as gateway:
            limits = Limits()
            (silent, in_head, in_body) = [await gateway.connect() for _ in range(3)]
            in_head.send(b"POST / HTTP/1.1\r\n")
            in_body.send(framed(b"content-length: 100", body=b"x"))
            readers = lambda: [connection._reader for connection in gateway.app.server.connections]  # noqa: E731
            await until(lambda: len(readers()) == 3 and any(reader._body_bytes == 1 for reader in readers()))
            await until(lambda: sum(reader.partial is not None for reader in readers()) == 2)
            gateway.later(limits.head_seconds - 1)
            in_head.send(b"drip: drop\r\nb")
            in_body.send(b"x")
            await until(lambda: any(reader._body_bytes == 2 for reader in readers()))
            await until(lambda: any((b"drip", b"drop") in r.partial.headers for r in readers() if r.partial))
            gateway.later(limits.head_seconds + 1)
            assert await silent.rest() == b""
            assert (await in_head.answer()).status == 408
            gateway.later(limits.body_seconds - 1)
            in_body.send(b"x")
            await until(lambda: any(reader._body_bytes == 3 for reader in readers()))
            gateway.later(limits.body_seconds + 1)
            assert (await in_body.answer()).status == 408
            for client in (silent, in_head, in_body):
                await client.close()

    run(scenario())


def test_an_idle_client_is_kept_for_a_while(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, None) as gateway:
            client = await gateway.connect()
            client.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await client.answer()).status == 200
            gateway.later(Limits().idle_seconds - 5)
            client.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await client.answer()).status == 200
            gateway.later(2 * Limits().idle_seconds)
            assert await client.rest() == b""
            await client.close()

    run(scenario())


def test_waiting_for_an_answer_has_no_deadline(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        ready = asyncio.Event()

        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            await ready.wait()
            writer.write(http(b"{}"))

        async with Upstream(script) as engine, a_gateway(tmp_path, serving(engine)) as gateway:
            client = await gateway.connect()
            client.send(post({"model": "chat"}))
            await engine.until(lambda: len(engine.requests) == 1)
            gateway.later(100_000)
            ready.set()
            assert (await client.answer()).status == 200
            await client.close()

    run(scenario())


def test_draining_finishes_what_is_open_and_closes_the_rest(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        go_on = asyncio.Event()

        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            if b"begun" in request.body:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{")
                await go_on.wait()
                writer.write(b"}")
            else:
                await go_on.wait()
                writer.write(http(b"{}"))

        async with Upstream(script) as engine, a_gateway(tmp_path, serving(engine)) as gateway:
            idle, waiting, begun = [await gateway.connect() for _ in range(3)]
            waiting.send(post({"model": "chat"}))
            begun.send(post({"model": "chat", "user": "begun"}))
            await begun.head()
            await engine.until(lambda: len(engine.requests) == 2)
            gateway.app.server.drain()
            assert await idle.rest() == b""
            go_on.set()
            got = await waiting.answer()
            assert (got.body, got.headers["connection"]) == (b"{}", "close")
            assert await begun.rest() == b"{}"
            await until(lambda: not gateway.app.server.connections)
            for client in (idle, waiting, begun):
                await client.close()

    run(scenario())

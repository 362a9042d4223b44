"""A request's way through the gateway, over real sockets, to a scripted engine and back."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from api.gateway.request import Limits
from nexus_ctl.resources.routing import BackendEntry, PresetEntry, RouteEntry
from tests.api.gateway.wire import CHAT, Run, a_gateway, a_table, post
from tests.fakes.upstream import EVENT_STREAM, Received, Upstream, answers, chunk, http, streams

OK = b'{"object":"chat.completion","usage":{"prompt_tokens":5,"completion_tokens":7}}'
ASK = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}


def one(engine: Upstream) -> dict[str, dict[str, str]]:
    return {"chat": {"chat-0": engine.url}}


async def nowhere() -> str:
    """An address on which nothing listens."""
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return f"http://127.0.0.1:{port}"


def test_bytes_pass_unchanged_both_ways(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        answer = b'{"a" : 1.50,\n "text":"\\u00e9 \xc3\xa9"}'
        async with Upstream(answers(answer)) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            odd = b'{ "model" :"chat", "n":1.0e0,"messages":[],  "x":"\\ud83d\\ude00" }'
            got = await gateway.ask(odd, CHAT + "?trace=1")
            assert (got.status, got.body) == (200, answer)
            assert engine.requests[0].body == odd
            assert engine.requests[0].head.startswith(b"POST /v1/chat/completions?trace=1 HTTP/1.1\r\n")

    run(scenario())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank"])
def test_every_operation_reaches_the_engine_on_its_own_path(run: Run, tmp_path: Path, path: str) -> None:
    async def scenario() -> None:
        async with Upstream(answers(OK)) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            assert (await gateway.ask({"model": "chat"}, path)).status == 200
            assert engine.requests[0].head.split()[1] == path.encode()

    run(scenario())


def test_a_clients_keys_and_connection_fields_stop_at_the_gateway(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Upstream(answers(OK)) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            fields = {
                "Authorization": "Bearer canary",
                "X-Api-Key": "canary",
                "Cookie": "canary",
                "Accept-Encoding": "gzip",
                "Connection": "keep-alive, X-Private",
                "X-Private": "canary",
                "TE": "trailers",
                "traceparent": "00-1-2-03",
            }
            assert (await gateway.ask(ASK, headers=fields)).status == 200
            assert b"canary" not in engine.requests[0].head
            assert set(engine.requests[0].headers) == {"host", "content-length", "content-type", "traceparent"}

    run(scenario())


def test_a_stream_comes_chunk_by_chunk_and_its_first_content_is_not_held_back(run: Run, tmp_path: Path) -> None:
    """Two Rust routers delivered the first content 32 ms late for want of TCP_NODELAY: order, not time, shows it.

    The engine sends the role, then content 10 ms later, and the rest only after the client has confirmed both.
    """
    role, content, rest = b'data: {"role"}\n\n', b'data: {"content"}\n\n', b"data: [DONE]\n\n"

    async def scenario() -> None:
        confirmed = asyncio.Event()

        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            writer.write(EVENT_STREAM + chunk(role))
            await asyncio.sleep(0.01)
            writer.write(chunk(content))
            await confirmed.wait()
            writer.write(chunk(rest) + chunk(b""))

        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            client = await gateway.connect()
            client.send(post(ASK | {"stream": True}))
            status, headers = await client.head()
            assert (status, headers["content-type"]) == (200, "text/event-stream")
            assert [await client.piece(), await client.piece()] == [role, content]
            confirmed.set()
            assert [await client.piece(), await client.piece()] == [rest, b""]
            await client.close()

    run(scenario())


def test_an_answer_without_length_ends_with_the_engines_connection(run: Run, tmp_path: Path) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\npart one, ")
        await writer.drain()
        writer.write(b"part two")
        writer.close()

    async def scenario() -> None:
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            assert (await gateway.ask(ASK)).body == b"part one, part two"

    run(scenario())


def test_an_interim_answer_is_passed_over(run: Run, tmp_path: Path) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + http(OK))

    async def scenario() -> None:
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            got = [await gateway.ask(ASK), await gateway.ask(ASK)]
            assert [(a.status, a.body, "link" in a.headers) for a in got] == [(200, OK, False)] * 2
            assert engine.connections == 1

    run(scenario())


def test_an_engines_error_passes_unchanged_and_is_marked_as_the_engines(run: Run, tmp_path: Path) -> None:
    body = b'{"error":{"code":400,"message":"too long","type":"exceed_context_size_error"}}'

    async def scenario() -> None:
        script = answers(body, status="400 Bad Request")
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            got = await gateway.ask(ASK)
            assert (got.status, got.body, got.headers["x-nexus-error-source"]) == (400, body, "engine")

    run(scenario())


def test_one_engine_connection_serves_many_requests(run: Run, tmp_path: Path) -> None:
    """llhttp's should_keep_alive() is right only in on_message_complete: asked later, every request opens a new one."""

    async def scenario() -> None:
        async with Upstream(answers(OK)) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            client = await gateway.connect()
            for _ in range(50):
                client.send(post(ASK))
                assert (await client.answer()).body == OK
            await client.close()
            assert (engine.connections, gateway.app.pool.opened, len(engine.requests)) == (1, 1, 50)

    run(scenario())


def test_an_engine_that_closes_after_each_answer_is_obeyed(run: Run, tmp_path: Path) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(http(OK, extra=("connection: close",)))
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            client = await gateway.connect()
            for _ in range(5):
                client.send(post(ASK))
                got = await client.answer()
                assert (got.body, got.headers.get("connection")) == (OK, None)
            await client.close()
            assert engine.connections == 5

    run(scenario())


def test_pipelined_requests_start_from_within_the_end_of_the_one_before(run: Run, tmp_path: Path) -> None:
    """Giving a connection back may start the next request on it at once: whoever gave it back must not touch it again.

    One client pipelines, so the next request starts on the very connection, inside the read that ended the last.
    """

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        body = request.body
        if b'"stream": true' in body:
            writer.write(EVENT_STREAM + chunk(body[:9]) + chunk(body[9:]) + chunk(b""))
        else:
            writer.write(http(body))

    async def scenario() -> None:
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            client = await gateway.connect()
            bodies = [json.dumps({"model": "chat", "n": n, "stream": n % 3 == 0}).encode() for n in range(300)]
            client.send(b"".join(post(body) for body in bodies))
            assert [(await client.answer()).body for _ in bodies] == bodies
            await client.close()
            assert engine.connections == 1
            assert gateway.app.stats.in_flight == {}

    run(scenario())


def test_pipelined_own_answers_do_not_recurse(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, None) as gateway:
            client = await gateway.connect()
            client.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" * 3000)
            assert [(await client.answer()).status for _ in range(3000)] == [200] * 3000
            await client.close()

    run(scenario())


def test_a_slow_reader_is_not_buffered_for_and_wakes_up_again(run: Run, tmp_path: Path) -> None:
    """Back-pressure: what the client does not read, the engine cannot send; a lost wake-up would end in a time-out."""
    size = 64 * 1024 * 1024
    sent = 0

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async def scenario() -> None:
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            client = await gateway.connect()
            for _ in range(2):  # twice: the connection must not go back to the pool paused
                nonlocal sent
                sent = 0
                client.send(post(ASK))
                await client.head()
                held = -1
                while held != sent:
                    held = sent
                    await asyncio.sleep(0.2)
                assert held < size // 2
                async with asyncio.timeout(60):
                    assert len(await client.reader.readexactly(size)) == size
            await client.close()
            assert engine.connections == 1

    run(scenario())


def test_a_request_that_waits_for_a_slow_reader_is_not_forgotten(run: Run, tmp_path: Path) -> None:
    """A wake-up is lost when what waits is not looked at again: here the reader, not an answer's end, lets it start."""
    big = b"x" * 200_000

    async def scenario() -> None:
        async with Upstream(answers(big)) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            client = await gateway.connect()
            while not gateway.app.server.connections:
                await asyncio.sleep(0)
            (connection,) = gateway.app.server.connections
            connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            client.writer.transport.pause_reading()
            client.send(post(ASK) * 2)
            async with asyncio.timeout(30):
                while connection._current is not None or not connection._full:
                    await asyncio.sleep(0.005)
            assert len(engine.requests) == 1
            client.writer.transport.resume_reading()
            assert [(await client.answer()).body for _ in range(2)] == [big, big]
            await client.close()

    run(scenario())


def test_a_client_that_never_reads_is_cut_in_the_end(run: Run, tmp_path: Path) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENT_STREAM)
        while True:
            writer.write(chunk(b"x" * 65536))
            await writer.drain()

    async def scenario() -> None:
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            client = await gateway.connect()
            client.send(post(ASK))
            await client.head()
            while not any(connection._full for connection in gateway.app.server.connections):
                await asyncio.sleep(0.01)
            gateway.later(60)
            assert gateway.app.stats.in_flight == {"chat-0": 1}
            gateway.later(Limits().stalled_seconds + 1)
            await engine.until(lambda: engine.open == 0)
            assert gateway.app.stats.in_flight == {}
            client.abort()

    run(scenario())


@pytest.mark.parametrize("begun", [True, False], ids=["in mid-stream", "before the first byte"])
def test_a_client_that_leaves_stops_the_engine(run: Run, tmp_path: Path, begun: bool) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        if begun:
            writer.write(EVENT_STREAM + chunk(b"data: 1\n\n"))
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            client = await gateway.connect()
            client.send(post(ASK))
            await engine.until(lambda: len(engine.requests) == 1)
            if begun:
                await client.head()
            assert gateway.app.stats.in_flight == {"chat-0": 1}
            await client.close()
            await engine.until(lambda: engine.open == 0)
            assert gateway.app.stats.in_flight == {}
            assert gateway.app.stats.requests == {("chat", 499): 1}

    run(scenario())


def test_an_idle_connection_that_the_engine_closed_costs_nothing(run: Run, tmp_path: Path) -> None:
    """llama-server closes after 5 s idle; httpx then failed the next request with "Server disconnected"."""

    async def scenario() -> None:
        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            if request.connection == 0 and len(engine.requests) == 2:
                writer.close()  # the close and the request passed each other
            else:
                writer.write(http(OK))

        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            assert [(await gateway.ask(ASK)).status for _ in range(3)] == [200] * 3
            assert [request.connection for request in engine.requests] == [0, 0, 1, 1]

    run(scenario())


def test_a_request_that_kills_its_engine_does_not_kill_the_next(run: Run, tmp_path: Path) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def scenario() -> None:
        async with Upstream(script) as engine:
            table = a_table({"chat": {"chat-0": engine.url, "chat-1": engine.url}})
            async with a_gateway(tmp_path, table) as gateway:
                got = await gateway.ask(ASK)
                assert (got.status, got.error()["code"], len(engine.requests)) == (502, "engine_failed", 1)
                assert "replica chat-0 of deployment chat" in str(got.error()["message"])
                assert gateway.app.stats.in_flight == {}

    run(scenario())


def test_idle_connections_are_given_up_before_the_engine_does(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Upstream(answers(OK)) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            await gateway.ask(ASK)
            gateway.later(2.0)
            assert engine.open == 1
            gateway.later(3.5)
            await engine.until(lambda: engine.open == 0)
            assert (await gateway.ask(ASK)).status == 200

    run(scenario())


def test_what_an_engine_says_unasked_reaches_nobody(run: Run, tmp_path: Path) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(http(OK) + http(b"smuggled"))

    async def scenario() -> None:
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            client = await gateway.connect()
            for _ in range(3):
                client.send(post(ASK))
                assert (await client.answer()).body == OK
            await client.close()
            assert engine.connections == 3

    run(scenario())


def test_bytes_on_an_idle_connection_close_it(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        late = asyncio.Event()
        told: list[asyncio.Task[None]] = []

        async def tell(writer: asyncio.StreamWriter) -> None:
            await late.wait()
            writer.write(http(b"smuggled"))

        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            writer.write(http(OK))
            told.append(asyncio.ensure_future(tell(writer)))

        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            assert (await gateway.ask(ASK)).body == OK
            late.set()
            await engine.until(lambda: engine.open == 0)
            assert (await gateway.ask(ASK)).body == OK
            assert engine.connections == 2
            await asyncio.gather(*told)

    run(scenario())


def test_an_answer_without_content_ends_at_its_head(run: Run, tmp_path: Path) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async def scenario() -> None:
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            got = [await gateway.ask(ASK) for _ in range(3)]
            assert [(a.status, a.body, "transfer-encoding" in a.headers) for a in got] == [(204, b"", False)] * 3
            assert engine.connections == 1

    run(scenario())


@contextmanager
def unaccepting() -> Iterator[tuple[socket.socket, str]]:
    """A listener whose queue is full: connecting to it neither succeeds nor fails."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        for _ in range(2):
            queued = stack.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(listener.getsockname())
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_replica_that_accepts_no_connection_in_time_is_passed_over(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.gateway.pool.CONNECT_SECONDS", 0.05)

    async def scenario() -> None:
        async with Upstream(answers(OK)) as engine, a_gateway(tmp_path, None) as gateway:
            with unaccepting() as (_, url):
                gateway.put(a_table({"chat": {"hung": url}}))
                got = await gateway.ask(ASK)
                assert (got.status, got.error()["code"]) == (502, "engine_failed")
                assert "in time" in str(got.error()["message"])
                gateway.put(a_table({"chat": {"hung": url, "live": engine.url}}, revision=2))
                assert [(await gateway.ask(ASK)).status for _ in range(4)] == [200] * 4

    run(scenario())


def test_a_client_that_leaves_while_a_connection_is_made_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        with unaccepting() as (listener, url):
            async with a_gateway(tmp_path, a_table({"chat": {"hung": url}})) as gateway:
                client = await gateway.connect()
                client.send(post(ASK))
                while not gateway.app.stats.in_flight:
                    await asyncio.sleep(0.005)
                await client.close()
                while gateway.app.stats.in_flight:
                    await asyncio.sleep(0.005)
                listener.setblocking(False)
                accepted: list[socket.socket] = []
                async with asyncio.timeout(30):
                    while gateway.app.pool.opened == 0:
                        with suppress(BlockingIOError):
                            accepted.append(listener.accept()[0])
                        await asyncio.sleep(0.005)
                assert gateway.app.stats.requests == {("chat", 499): 1}
                for connection in accepted:
                    connection.close()

    run(scenario())


def test_a_replica_that_refuses_the_connection_is_passed_over_once(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Upstream(answers(OK)) as engine:
            table = a_table({"chat": {"dead": await nowhere(), "live": engine.url}})
            async with a_gateway(tmp_path, table) as gateway:
                assert [(await gateway.ask(ASK)).status for _ in range(6)] == [200] * 6
                dead = await nowhere()
                gateway.put(a_table({"chat": {"dead-0": dead, "dead-1": dead, "dead-2": dead}}, revision=2))
                got = await gateway.ask(ASK)
                assert (got.status, got.error()["code"]) == (502, "engine_failed")
                assert "refused" in str(got.error()["message"])
                assert gateway.app.stats.in_flight == {}

    run(scenario())


def test_an_answer_that_breaks_off_is_not_passed_as_whole(run: Run, tmp_path: Path) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        if b'"stream"' in request.body:
            writer.write(EVENT_STREAM + chunk(b'data: {"half'))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            client = await gateway.connect()
            client.send(post(ASK | {"stream": True}))
            await client.head()
            assert await client.piece() == b'data: {"half'
            event = await client.piece()
            error = json.loads(event.removeprefix(b"\n\ndata: "))["error"]
            assert (error["source"], error["code"]) == ("gateway", "engine_failed")
            assert await client.rest() == b""  # no last chunk
            await client.close()
            with pytest.raises(asyncio.IncompleteReadError):
                await gateway.ask(ASK)
            assert gateway.app.stats.in_flight == {}

    run(scenario())


def test_an_engine_that_does_not_speak_http_is_a_bad_gateway(run: Run, tmp_path: Path) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n")

    async def scenario() -> None:
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            got = await gateway.ask(ASK)
            assert (got.status, got.error()["code"]) == (502, "engine_failed")

    run(scenario())


def test_no_ready_replica_is_said_plainly(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        route = RouteEntry(["chat"], [BackendEntry("chat"), BackendEntry("other")])
        async with a_gateway(tmp_path, a_table({}, routes={"chat": route})) as gateway:
            got = await gateway.ask(ASK)
            assert (got.status, got.headers["retry-after"]) == (503, "1")
            assert got.error()["message"] == "no replica of deployment chat or other is ready"
            assert got.error()["type"] == "server_error"

    run(scenario())


def test_weights_share_requests_exactly_and_zero_takes_none(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Upstream(answers(b'"a"')) as a, Upstream(answers(b'"b"')) as b, Upstream(answers(b'"c"')) as c:
            backends = [BackendEntry("a", 9), BackendEntry("b", 1), BackendEntry("c", 0)]
            table = a_table(
                {"a": {"a-0": a.url}, "b": {"b-0": b.url}, "c": {"c-0": c.url}},
                routes={"chat": RouteEntry(["chat"], backends)},
            )
            async with a_gateway(tmp_path, table) as gateway:
                for _ in range(40):
                    await gateway.ask(ASK)
            assert (len(a.requests), len(b.requests), len(c.requests)) == (36, 4, 0)

    run(scenario())


def test_a_busy_replica_gets_the_next_request_last(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        free = asyncio.Event()

        async def slow(request: Received, writer: asyncio.StreamWriter) -> None:
            await free.wait()
            writer.write(http(OK))

        async with Upstream(slow) as busy, Upstream(answers(OK)) as idle:
            table = a_table({"chat": {"a-busy": busy.url, "b-idle": idle.url}})
            async with a_gateway(tmp_path, table) as gateway:
                first = asyncio.ensure_future(gateway.ask(ASK))
                await busy.until(lambda: len(busy.requests) == 1)
                for _ in range(5):
                    assert (await gateway.ask(ASK)).status == 200
                assert (len(busy.requests), len(idle.requests)) == (1, 5)
                free.set()
                assert (await first).status == 200

    run(scenario())


def test_a_preset_reaches_the_engine_by_name_by_route_and_changes_with_the_table(run: Run, tmp_path: Path) -> None:
    """Variants without a second copy of the model in memory (llama-swap #39, #549, #552, #1117)."""

    async def scenario() -> None:
        async with Upstream(answers(OK)) as engine:
            presets = {
                "precise": PresetEntry({"temperature": 0.1}, "Be exact."),
                "wild": PresetEntry({"temperature": 2}),
            }
            routes = {"chat": RouteEntry(["chat", "gpt"], [BackendEntry("chat")], preset="wild")}
            table = a_table(one(engine), presets=presets, routes=routes)
            async with a_gateway(tmp_path, table) as gateway:
                for body in (ASK, ASK | {"model": "gpt:precise"}, ASK | {"temperature": 0.5}):
                    assert (await gateway.ask(body)).status == 200
                changed = presets | {"wild": PresetEntry({"temperature": 3}, locked=["temperature"])}
                gateway.put(a_table(one(engine), presets=changed, routes=routes, revision=2))
                assert (await gateway.ask(ASK | {"temperature": 0.5})).status == 200
            seen = [request.json() for request in engine.requests]
            assert [body["temperature"] for body in seen] == [2, 0.1, 0.5, 3]
            assert seen[1]["messages"] == [{"role": "system", "content": "Be exact."}, *ASK["messages"]]
            assert engine.connections == 1

    run(scenario())


def test_a_preset_named_where_it_cannot_work_is_refused(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Upstream(answers(OK)) as engine:
            table = a_table(one(engine), presets={"precise": PresetEntry({"temperature": 0.1})})
            async with a_gateway(tmp_path, table) as gateway:
                bound = {"chat": RouteEntry(["chat"], [BackendEntry("chat")], preset="precise")}
                got = await gateway.ask({"model": "chat:precise", "input": "x"}, "/v1/embeddings")
                assert (got.status, got.error()["code"]) == (400, "preset_not_applicable")
                assert engine.requests == []
                gateway.put(a_table(one(engine), presets=table.presets, routes=bound, revision=2))
                assert (await gateway.ask(b'{"model":"chat","input":"x"}', "/v1/embeddings")).status == 200
                assert engine.requests[0].body == b'{"model":"chat","input":"x"}'

    run(scenario())


def test_two_hundred_streams_outlive_fifty_tables_and_their_replicas(run: Run, tmp_path: Path) -> None:
    """Reload the gateway without dropping requests (LiteLLM #20409, #30772): whole streams, whatever the table does."""
    events = [b"data: %d %b\n\n" % (n, b"x" * 50) for n in range(64)]

    async def scenario() -> None:
        reloaded = asyncio.Event()

        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            writer.write(EVENT_STREAM)
            for n, event in enumerate(events):
                writer.write(chunk(event))
                if n == 32:
                    await reloaded.wait()
            writer.write(chunk(b""))

        async with Upstream(script) as a, Upstream(script) as b:
            both = a_table({"chat": {"a": a.url, "b": b.url}})
            async with a_gateway(tmp_path, both) as gateway:
                asks = [asyncio.ensure_future(gateway.ask(ASK | {"stream": True})) for _ in range(200)]
                while len(a.requests) + len(b.requests) < 200:
                    await asyncio.sleep(0.01)
                assert gateway.app.stats.in_flight == {"a": 100, "b": 100}
                for n in range(50):
                    replicas = {"a": a.url} if n % 2 else {"b": b.url, f"c-{n}": b.url}
                    gateway.put(a_table({"chat": replicas}, revision=n + 2))
                    await asyncio.sleep(0)
                gateway.put(a_table({}, revision=52))
                assert gateway.app.stats.in_flight == {"a": 100, "b": 100}
                reloaded.set()
                whole = b"".join(events)
                assert [answer.body == whole for answer in await asyncio.gather(*asks)] == [True] * 200
                assert gateway.app.stats.in_flight == {}
                assert gateway.app.watch.snapshot.revision == 52

    run(scenario())


def test_tokens_are_counted_as_the_engine_reports_them(run: Run, tmp_path: Path) -> None:
    last = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}\n\n'
    fake = b'data: {"text":"\\"usage\\":{\\"prompt_tokens\\":999}"}\n\n'

    async def scenario() -> None:
        script = streams([b"data: 1\n\n", fake, last, b"data: [DONE]\n\n"])
        async with Upstream(script) as engine, a_gateway(tmp_path, a_table(one(engine))) as gateway:
            await gateway.ask(ASK)
            await gateway.ask(ASK | {"model": "nope"})
            status = (await gateway.get("/nexus/v1/gateway")).json()
            assert status["routes"] == {
                "": {"requests": {"404": 1}, "promptTokens": 0, "completionTokens": 0},
                "chat": {"requests": {"200": 1}, "promptTokens": 11, "completionTokens": 3},
            }
            served = status["deployments"]["chat"]
            assert served["lastUsed"] >= status["since"] > 0
            assert served | {"lastUsed": 0} == {
                "requests": 1,
                "promptTokens": 11,
                "completionTokens": 3,
                "lastUsed": 0,
            }

    run(scenario())


def test_a_bug_in_the_gateway_is_an_answer_not_a_hang(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("api.gateway.exchange.model_of", lambda body: 1 / 0)

    async def scenario() -> None:
        async with a_gateway(tmp_path, a_table({})) as gateway:
            got = await gateway.ask(ASK)
            assert (got.status, got.error()["code"]) == (500, "internal_error")

    with caplog.at_level(logging.ERROR):
        run(scenario())
    assert "ZeroDivisionError" in caplog.text

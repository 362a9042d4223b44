"""The gateway as a process: what it imports, how it starts, follows its table and stops; and the OpenAI SDK on it."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import psutil
import pytest

from nexus_ctl.clock import SystemClock
from nexus_ctl.resources.routing import (
    BackendEntry,
    PresetEntry,
    RouteEntry,
    Table,
    with_endpoint,
    with_preset,
    with_route,
    without_endpoint,
)
from nexus_ctl.routing.file import RoutingFile
from tests.fakes.upstream import EVENT_STREAM, Received, Upstream, chunk, http

HEAVY = {
    "fastapi",
    "starlette",
    "pydantic",
    "sqlalchemy",
    "requests",
    "httpx",
    "docker",
    "yaml",
    "click",
    "rich",
    "email",
}


def test_the_data_plane_loads_nothing_heavy() -> None:
    code = "import sys, api.gateway.__main__, uvloop; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"httptools", "msgspec"} <= set(loaded)
    assert HEAVY & set(loaded) == set()


@dataclass
class Process:
    """A running gateway process."""

    popen: subprocess.Popen[str]
    url: str
    routing: RoutingFile

    def wait(self) -> tuple[int, str]:
        _, log = self.popen.communicate(timeout=60)
        return self.popen.returncode, log


@contextmanager
def a_process(tmp_path: Path, *options: str) -> Iterator[Process]:
    table = tmp_path / "table.json"
    command = [sys.executable, "-m", "api.gateway", "--table", str(table), "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as popen:
        try:
            assert popen.stderr is not None
            url = None
            while url is None:
                line = popen.stderr.readline()
                assert line, "the gateway ended"
                url = re.search(r"http://\S+", line)
            yield Process(popen, url[0], RoutingFile(table, url[0]))
        finally:
            popen.kill()


class Engine:
    """A scripted engine in a thread of its own, for clients that block."""

    def __init__(self, script: Callable[[Received, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._script = script
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Engine:
        self._thread.start()
        assert self._started.wait(60)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with Upstream(self._script) as upstream:
            self.upstream = upstream
            self._started.set()
            await self._stop.wait()


def serve(process: Process, engine: Engine) -> None:
    """Put the engine behind the route `chat`."""
    process.routing.change(lambda table: with_endpoint(table, "chat", "chat-0", engine.upstream.url))
    process.routing.change(lambda table: with_route(table, "chat", RouteEntry(["chat"], [BackendEntry("chat")])))
    assert process.routing.wait_loaded(SystemClock(), 60)


COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello."}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}
WORDS = ["Hel", "lo", "."]


def delta(**fields: object) -> bytes:
    choice = {"index": 0, "delta": fields, "finish_reason": None}
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(event)}\n\n".encode()


async def an_engine(request: Received, writer: asyncio.StreamWriter) -> None:
    """Speaks the OpenAI API; the user's words choose what happens."""
    body = request.json()
    if request.head.startswith(b"POST /v1/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        writer.write(http(json.dumps({"object": "list", "model": "m", "data": data, "usage": usage}).encode()))
    elif body["messages"][-1]["content"] == "fail":  # type: ignore[index]
        error = {"code": 400, "message": "too long", "type": "exceed_context_size_error"}
        writer.write(http(json.dumps({"error": error}).encode(), status="400 Bad Request"))
    elif body.get("stream"):
        writer.write(EVENT_STREAM + chunk(delta(role="assistant", content=None)))
        for word in WORDS:
            await asyncio.sleep(0.01)
            writer.write(chunk(delta(content=word)))
            await writer.drain()
        if body["messages"][-1]["content"] == "break":  # type: ignore[index]
            writer.close()
        else:
            writer.write(chunk(b"data: [DONE]\n\n") + chunk(b""))
    else:
        writer.write(http(json.dumps(COMPLETION).encode()))


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[openai.OpenAI, Engine]]:
    with a_process(tmp_path_factory.mktemp("gateway")) as process, Engine(an_engine) as engine:
        serve(process, engine)
        precise = PresetEntry({"temperature": 0.1}, "Be exact.")
        process.routing.change(lambda table: with_preset(table, "precise", precise))
        process.routing.change(lambda table: with_route(table, "empty", RouteEntry(["empty"], [BackendEntry("none")])))
        assert process.routing.wait_loaded(SystemClock(), 60)
        with openai.OpenAI(base_url=f"{process.url}/v1", api_key="canary", max_retries=0, timeout=60) as client:
            yield client, engine


def ask(client: openai.OpenAI, text: str = "hi", model: str = "chat") -> str | None:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    return answer.choices[0].message.content


def test_sdk_chat(sdk: tuple[openai.OpenAI, Engine]) -> None:
    client, engine = sdk
    assert ask(client) == "Hello."
    assert b"canary" not in engine.upstream.requests[-1].head


def test_sdk_chat_with_a_preset(sdk: tuple[openai.OpenAI, Engine]) -> None:
    client, engine = sdk
    assert ask(client, model="chat:precise") == "Hello."
    body = engine.upstream.requests[-1].json()
    assert body["temperature"] == 0.1
    assert body["messages"] == [{"role": "system", "content": "Be exact."}, {"role": "user", "content": "hi"}]


def test_sdk_stream(sdk: tuple[openai.OpenAI, Engine]) -> None:
    stream = sdk[0].chat.completions.create(model="chat", messages=[{"role": "user", "content": "hi"}], stream=True)
    with stream:
        assert [part.choices[0].delta.content for part in stream] == [None, *WORDS]


def test_sdk_learns_that_a_stream_broke_off(sdk: tuple[openai.OpenAI, Engine]) -> None:
    stream = sdk[0].chat.completions.create(model="chat", messages=[{"role": "user", "content": "break"}], stream=True)
    words: list[str | None] = []
    with stream, pytest.raises(openai.APIError, match="chat-0 of deployment chat: it closed the connection"):
        words.extend(part.choices[0].delta.content for part in stream)


def test_sdk_embeddings(sdk: tuple[openai.OpenAI, Engine]) -> None:
    answer = sdk[0].embeddings.create(model="chat", input="x", encoding_format="float")
    assert answer.data[0].embedding == [0.25, -0.5]


def test_sdk_models(sdk: tuple[openai.OpenAI, Engine]) -> None:
    assert [model.id for model in sdk[0].models.list()] == ["chat", "empty"]
    assert sdk[0].models.retrieve("chat:precise").owned_by == "nexusctl"


@pytest.mark.parametrize(
    ("asked", "kind", "source", "message"),
    [
        (("hi", "nope"), openai.NotFoundError, "gateway", "there is: chat, empty"),
        (("hi", "chat:nope"), openai.NotFoundError, "gateway", "there is: precise"),
        (("hi", "empty"), openai.InternalServerError, "gateway", "no replica of deployment none is ready"),
        (("fail", "chat"), openai.BadRequestError, "engine", "too long"),
    ],
)
def test_sdk_errors_say_who_failed(
    sdk: tuple[openai.OpenAI, Engine],
    asked: tuple[str, str],
    kind: type[openai.APIStatusError],
    source: str,
    message: str,
) -> None:
    with pytest.raises(kind, match=message) as caught:
        ask(sdk[0], *asked)
    assert caught.value.response.headers["x-nexus-error-source"] == source


def test_a_withdrawn_replica_is_idle_only_after_its_last_byte(tmp_path: Path) -> None:
    """The count that a drain waits for (llama-swap #19, llama.cpp #22447), over the real file and the real process."""
    go_on = threading.Event()

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENT_STREAM + chunk(b"data: 1\n\n"))
        await asyncio.to_thread(go_on.wait, 60)
        writer.write(chunk(b"data: 2\n\n") + chunk(b""))

    with a_process(tmp_path) as process, Engine(script) as engine:
        serve(process, engine)
        routing = process.routing
        assert routing.in_flight("chat-0") == 0
        host, port = process.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as client:
            body = b'{"model":"chat"}'
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                           b"content-length: %d\r\n\r\n" % len(body) + body)  # fmt: skip
            got = client.recv(65536)
            routing.change(lambda table: without_endpoint(table, "chat", "chat-0"))
            assert routing.in_flight("chat-0") == 1
            assert routing.wait_loaded(SystemClock(), 60)
            assert routing.in_flight("chat-0") == 1
            go_on.set()
            while more := client.recv(65536):
                got += more
        assert got.endswith(chunk(b"data: 2\n\n") + chunk(b""))
        assert routing.in_flight("chat-0") == 0
        process.popen.terminate()
        assert process.wait()[0] == 0
        assert routing.in_flight("chat-0") is None


def accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=60).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:  # it was in the queue when the listener closed
        return True
    return True


def test_sigterm_finishes_the_open_stream_and_exits_0(tmp_path: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENT_STREAM + chunk(b"data: 1\n\n"))
        asked.set()
        await asyncio.to_thread(go_on.wait, 60)
        writer.write(chunk(b"data: [DONE]\n\n") + chunk(b""))

    with a_process(tmp_path) as process, Engine(script) as engine:
        serve(process, engine)
        host, port = process.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as client, client.makefile("rb") as answer:
            body = b'{"model":"chat"}'
            client.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            assert asked.wait(60)
            process.popen.send_signal(signal.SIGTERM)
            assert process.popen.stderr is not None
            while "stopping" not in process.popen.stderr.readline():
                pass
            while accepts(host, int(port)):
                pass
            go_on.set()
            assert answer.read().endswith(chunk(b"data: [DONE]\n\n") + chunk(b""))
        assert process.wait()[0] == 0


@pytest.mark.parametrize("second", [False, True], ids=["deadline", "second signal"])
def test_a_stop_does_not_wait_for_ever(tmp_path: Path, second: bool) -> None:
    asked = threading.Event()

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    with a_process(tmp_path, "--drain-seconds", "60" if second else "0.1") as process, Engine(script) as engine:
        serve(process, engine)
        host, port = process.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as client:
            client.sendall(b'POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n{"model":"chat"}')
            assert asked.wait(60)
            process.popen.send_signal(signal.SIGTERM)
            assert process.popen.stderr is not None
            while "stopping" not in process.popen.stderr.readline():
                pass
            if second:
                process.popen.send_signal(signal.SIGTERM)
            assert process.wait()[0] == (1 if second else 0)


def test_the_table_may_come_after_the_gateway_and_sighup_is_welcome(tmp_path: Path) -> None:
    with a_process(tmp_path) as process:
        process.popen.send_signal(signal.SIGHUP)
        process.routing.change(lambda table: Table(set="s"))
        assert process.routing.wait_loaded(SystemClock(), 60)
        process.popen.send_signal(signal.SIGINT)
        code, log = process.wait()
        assert code == 0
        assert "revision 1 in force" in log


def test_a_thousand_streams_are_not_too_many_files(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with a_process(tmp_path) as process:
        assert psutil.Process(process.popen.pid).rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)


def test_an_address_in_use_is_said_plainly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "api.gateway", "--table", str(tmp_path / "t"), "--listen", address]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, f"cannot listen on {address}: address already in use\n")


@pytest.mark.parametrize("address", ["8600", ":8600", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"])
def test_a_wrong_address_is_wrong_usage(tmp_path: Path, address: str) -> None:
    command = [sys.executable, "-m", "api.gateway", "--table", str(tmp_path / "t"), "--listen", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "not HOST:PORT" in done.stderr

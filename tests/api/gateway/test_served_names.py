"""Engines that take only the names they serve, behind public names that are others (vLLM: 404 for any other)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nexus_ctl.resources.routing import BackendEntry, PresetEntry, RouteEntry, Table
from tests.api.gateway.wire import Run, a_gateway, a_table
from tests.fakes.upstream import Upstream, answers, insists, streams

OK = b'{"object":"chat.completion","model":"qwen"}'
EVENTS = [b'data: {"model":"qwen"}\n\n', b"data: [DONE]\n\n"]
ASK = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
ROUTES = {
    "chat": RouteEntry(["chat", "gpt"], [BackendEntry("vllm")]),
    "sql": RouteEntry(["sql", "sql-bot"], [BackendEntry("vllm")]),
}
PRESETS = {"precise": PresetEntry({"temperature": 0.1})}


def a_vllm(*names: str) -> Upstream:
    return Upstream(insists(names, answers(OK)))


def serving(engine: Upstream, *names: str) -> Table:
    """Deployment `vllm`, whose one replica takes only `names`."""
    endpoints = {"vllm": {"vllm-0": engine.url}}
    return a_table(endpoints, routes=ROUTES, presets=PRESETS, served={"vllm": {"vllm-0": list(names)}})


@contextmanager
def nowhere() -> Iterator[str]:
    """An address that is taken, and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("chat", "qwen"),
        ("gpt", "qwen"),
        ("gpt:precise", "qwen"),
        ("sql", "sql"),
        ("sql:precise", "sql"),
        ("sql-bot", "sql"),
    ],
)
def test_the_engine_is_asked_for_what_it_serves(run: Run, tmp_path: Path, asked: str, name: str) -> None:
    async def scenario() -> None:
        async with a_vllm("qwen", "sql") as engine, a_gateway(tmp_path, serving(engine, "qwen", "sql")) as gateway:
            got = await gateway.ask(ASK | {"model": asked})
            assert (got.status, got.body) == (200, OK)  # an answer passes as it is, the engine's own name in it
            (seen,) = engine.requests
            preset = {"temperature": 0.1} if ":" in asked else {}
            assert seen.json() == ASK | {"model": name} | preset

    run(scenario())


def test_without_a_served_name_the_bytes_pass_and_the_engine_refuses(run: Run, tmp_path: Path) -> None:
    """What every table before `served` does, so that the fake is seen to refuse."""

    async def scenario() -> None:
        async with a_vllm("qwen") as engine, a_gateway(tmp_path, serving(engine)) as gateway:
            got = await gateway.ask(b'{ "model" :"chat" }')
            assert (got.status, got.headers["x-nexus-error-source"]) == (404, "engine")
            assert engine.requests[0].body == b'{ "model" :"chat" }'

    run(scenario())


def test_a_stream_under_another_name(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Upstream(insists(["qwen"], streams(EVENTS))) as engine:
            async with a_gateway(tmp_path, serving(engine, "qwen")) as gateway:
                got = await gateway.ask(ASK | {"stream": True})
            assert (got.status, got.body) == (200, b"".join(EVENTS))
            assert engine.requests[0].json() == ASK | {"model": "qwen", "stream": True}

    run(scenario())


def test_only_the_model_at_the_top_changes(run: Run, tmp_path: Path) -> None:
    body = (
        b'\r\n{ "metadata" : {"model": "chat",  "x": 1.50 },"\\u006dodel"\t:\n"\\u0063hat" ,'
        b'"messages":[ {"role":"user", "content":"\\"model\\": \\"chat\\" \\ud83d\\ude00 \xc3\xa9", "model":"chat"} ],'
        b' "tools":[{"model":null}], "Model":"chat" }'
    )
    sent = (
        b'{"metadata":{"model": "chat",  "x": 1.50 },"model":"qwen",'
        b'"messages":[ {"role":"user", "content":"\\"model\\": \\"chat\\" \\ud83d\\ude00 \xc3\xa9", "model":"chat"} ],'
        b'"tools":[{"model":null}],"Model":"chat"}'
    )

    async def scenario() -> None:
        async with a_vllm("qwen") as engine, a_gateway(tmp_path, serving(engine, "qwen")) as gateway:
            assert (await gateway.ask(body)).status == 200
            assert engine.requests[0].body == sent

    run(scenario())


def test_a_body_that_has_the_name_already_passes_unchanged(run: Run, tmp_path: Path) -> None:
    body = b'{ "model" : "sql", "messages" : [] }'

    async def scenario() -> None:
        async with a_vllm("qwen", "sql") as engine, a_gateway(tmp_path, serving(engine, "qwen", "sql")) as gateway:
            assert (await gateway.ask(body)).status == 200
            assert engine.requests[0].body == body

    run(scenario())


def test_a_name_said_twice_is_said_once_to_the_engine(run: Run, tmp_path: Path) -> None:
    """Two parsers could pick different ones of them; the last is what the gateway routed by."""

    async def scenario() -> None:
        async with a_vllm("qwen") as engine, a_gateway(tmp_path, serving(engine, "qwen")) as gateway:
            assert (await gateway.ask(b'{"model":"other","model":"gpt","n":1}')).status == 200
            assert engine.requests[0].body == b'{"model":"qwen","n":1}'

    run(scenario())


@pytest.mark.parametrize("dead", ["llama", "vllm"])
def test_the_next_replica_is_asked_by_its_own_name(run: Run, tmp_path: Path, dead: str) -> None:
    """One route over a llama.cpp and a vLLM deployment; the one whose turn it is cannot be reached."""
    body = b'{ "model":"gpt", "messages":[] }'

    async def scenario() -> None:
        async with Upstream(answers(OK)) as llama, a_vllm("qwen") as vllm:
            with nowhere() as away:
                urls = {"llama": llama.url, "vllm": vllm.url} | {dead: away}
                weights = [BackendEntry("llama", 1), BackendEntry("vllm", 1)]
                weights = [BackendEntry(one.deployment, 1000 if one.deployment == dead else 1) for one in weights]
                table = a_table(
                    {name: {f"{name}-0": url} for name, url in urls.items()},
                    routes={"chat": RouteEntry(["chat", "gpt"], weights)},
                    served={"vllm": {"vllm-0": ["qwen"]}},
                )
                async with a_gateway(tmp_path, table) as gateway:
                    assert (await gateway.ask(body)).status == 200
            sent = [request.body for request in (*llama.requests, *vllm.requests)]
            assert sent == [body if dead == "vllm" else b'{"model":"qwen","messages":[]}']

    run(scenario())


def test_replicas_of_one_deployment_may_serve_other_names(run: Run, tmp_path: Path) -> None:
    """A roll-out to another model: old and new replica side by side, each asked by its own name."""

    async def scenario() -> None:
        async with a_vllm("old") as old, a_vllm("new") as new:
            table = a_table(
                {"vllm": {"vllm-0": old.url, "vllm-1": new.url}},
                routes=ROUTES,
                served={"vllm": {"vllm-0": ["old"], "vllm-1": ["new"]}},
            )
            async with a_gateway(tmp_path, table) as gateway:
                assert [(await gateway.ask(ASK)).status for _ in range(4)] == [200] * 4
            assert [len(old.requests), len(new.requests)] == [2, 2]

    run(scenario())


def test_a_key_that_is_not_text_is_refused_where_it_would_have_to_be_rewritten(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_vllm("qwen") as engine, a_gateway(tmp_path, serving(engine, "qwen")) as gateway:
            got = await gateway.ask(b'{"model":"chat","\xff":1}')
            assert (got.status, got.error()["code"]) == (400, "invalid_json")
            assert engine.requests == []
            assert (await asyncio.wait_for(gateway.ask(ASK), 30)).status == 200

    run(scenario())

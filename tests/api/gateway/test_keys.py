"""Engines that ask for a key: the gateway bears each one's own, and the client's never."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_ctl.routing.keys import KeyFiles
from tests.api.gateway.wire import Run, a_gateway, a_table
from tests.fakes.upstream import Upstream, answers

OK = b'{"id":"1","choices":[]}'
ASK = {"model": "chat", "messages": []}


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyFiles]:
    made = KeyFiles(tmp_path / "table.json")
    yield made
    shutil.rmtree(made.folder, ignore_errors=True)


def test_each_engine_is_asked_with_its_own_key_in_the_clients_stead(run: Run, tmp_path: Path, keys: KeyFiles) -> None:
    keys.put("chat-0", "sk-zero")
    keys.put("gone-0", "sk-gone")

    async def scenario() -> None:
        async with (
            Upstream(answers(OK)) as first,
            Upstream(answers(OK)) as second,
            a_gateway(tmp_path, None) as gateway,
        ):
            gateway.put(a_table({"chat": {"chat-0": first.url, "chat-1": second.url}}))
            for _ in range(2):
                assert (await gateway.ask(ASK, headers={"Authorization": "Bearer canary"})).status == 200
            assert first.requests[0].headers["authorization"] == "Bearer sk-zero"
            assert "authorization" not in second.requests[0].headers
            assert b"canary" not in first.requests[0].head + second.requests[0].head

    run(scenario())


def test_a_key_that_comes_or_changes_is_used_without_a_new_table(run: Run, tmp_path: Path, keys: KeyFiles) -> None:
    async def scenario() -> None:
        async with Upstream(answers(OK)) as engine, a_gateway(tmp_path, None) as gateway:
            gateway.put(a_table({"chat": {"chat-0": engine.url}}))
            for key in ("", "sk-1", "sk-2"):
                if key:
                    keys.put("chat-0", key)
                    gateway.app.watch.look()
                assert (await gateway.ask(ASK)).status == 200
            sent = [request.headers.get("authorization") for request in engine.requests]
            assert sent == [None, "Bearer sk-1", "Bearer sk-2"]
            assert "sk-" not in repr(gateway.app.watch.snapshot)

    run(scenario())

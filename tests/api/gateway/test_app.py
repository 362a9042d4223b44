"""What the gateway answers itself: models, health, readiness, its status, metrics, and paths that are not there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from nexus_ctl.resources.routing import BackendEntry, GatewayStatus, PresetEntry, RouteEntry, Table, encode, fingerprint
from tests.api.gateway.wire import Run, a_gateway, a_table

ROUTES = {
    "chat": RouteEntry(["org/chat", "gpt"], [BackendEntry("chat")], preset="precise"),
    "embed": RouteEntry(["embed"], [BackendEntry("embed")]),
}
TABLE = a_table(
    {"chat": {"chat-0": "http://127.0.0.1:1"}},
    presets={"precise": PresetEntry({"temperature": 0.1})},
    routes=ROUTES,
    revision=5,
)


def test_models_lists_every_public_name(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, TABLE) as gateway:
            got = (await gateway.get("/v1/models")).json()
            assert got["object"] == "list"
            models = {model["id"]: model["nexus"] for model in got["data"]}  # type: ignore[attr-defined]
            chat = {"model": "org/chat", "aliases": ["gpt"], "preset": "precise", "presets": ["precise"], "replicas": 1}
            embed = {"model": "embed", "aliases": [], "preset": None, "presets": ["precise"], "replicas": 0}
            assert models == {"org/chat": chat, "gpt": chat, "embed": embed}

    run(scenario())


@pytest.mark.parametrize("name", ["gpt", "org/chat", "org%2Fchat", "embed:precise", "embed%3Aprecise"])
def test_one_model_by_name(run: Run, tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, TABLE) as gateway:
            got = (await gateway.get(f"/v1/models/{name}")).json()
            assert (got["id"], got["object"]) == (name.replace("%2F", "/").replace("%3A", ":"), "model")
            missing = await gateway.get("/v1/models/nope")
            assert (missing.status, missing.error()["code"]) == (404, "model_not_found")

    run(scenario())


def test_readiness_follows_the_first_table_and_a_bad_one_changes_nothing(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, None) as gateway:
            assert (await gateway.get("/health")).status == 200
            got = await gateway.get("/ready")
            assert (got.status, got.json()["ready"]) == (503, False)
            gateway.put(TABLE)
            assert (await gateway.get("/ready")).json() == {"ready": True, "revision": 5, "error": None}
            gateway.path.write_bytes(b"{")
            gateway.app.watch.look()
            got = await gateway.get("/ready")
            assert (got.status, got.json()["revision"]) == (200, 5)
            assert "cannot be used" in str(got.json()["error"])
            assert (await gateway.get("/v1/models/gpt")).status == 200
            assert b"nexus_gateway_table_bad 1\n" in (await gateway.get("/metrics")).body
            gateway.path.unlink()
            gateway.app.watch.look()
            assert "gone" in str((await gateway.get("/ready")).json()["error"])
            gateway.put(Table(revision=6))
            assert (await gateway.get("/ready")).json() == {"ready": True, "revision": 6, "error": None}

    run(scenario())


def test_status_names_the_very_table_in_force(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, TABLE) as gateway:
            got = await gateway.get("/nexus/v1/gateway")
            status = msgspec.json.decode(got.body, type=GatewayStatus)
            assert status.since > 0
            assert status == GatewayStatus(revision=5, fingerprint=fingerprint(encode(TABLE)), since=status.since)

    run(scenario())


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/models/", "/v2/models", "/v1/chat/completions/", "//v1/models", "*"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_an_unknown_path_is_404(run: Run, tmp_path: Path, path: str, method: str) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, TABLE) as gateway:
            got = await gateway.get(path, method)
            if path == "/v1/models/" and method != "GET":
                assert (got.status, got.error()["code"]) == (405, "wrong_method")
            else:
                assert (got.status, got.error()["type"]) == (404, "invalid_request_error")

    run(scenario())


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models/gpt", "GET"),
        ("POST", "/v1/models", "GET"),
        ("PUT", "/nexus/v1/gateway", "GET"),
    ],
)
def test_a_wrong_method_is_405(run: Run, tmp_path: Path, method: str, path: str, allowed: str) -> None:
    """Nothing reachable over the network changes desired state: what is not read or asked is refused."""

    async def scenario() -> None:
        async with a_gateway(tmp_path, TABLE) as gateway:
            got = await gateway.get(path, method)
            assert (got.status, got.error()["code"], got.headers["allow"]) == (405, "wrong_method", allowed)

    run(scenario())


def test_head_is_get_without_the_body(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, TABLE) as gateway:
            client = await gateway.connect()
            client.send(b"HEAD /health HTTP/1.1\r\nhost: x\r\n\r\nGET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            first = await client.answer(bodiless=True)
            second = await client.answer()
            assert first.headers["content-length"] == second.headers["content-length"] == str(len(second.body))
            await client.close()

    run(scenario())


def test_the_table_is_seen_when_it_is_replaced(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_gateway(tmp_path, TABLE) as gateway:
            seen = []
            for revision in range(6, 26):
                gateway.put(a_table({}, revision=revision))
                seen.append(gateway.app.watch.snapshot.revision)
            assert seen == list(range(6, 26))
            await asyncio.sleep(0)

    run(scenario())

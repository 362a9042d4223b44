"""What a name in `model` stands for, and what makes a table unusable."""

from __future__ import annotations

import pytest

from api.gateway.openai import GatewayError, model_of
from api.gateway.snapshot import Snapshot, load
from nexus_ctl.resources.routing import BackendEntry, PresetEntry, RouteEntry, Table, encode, fingerprint
from tests.api.gateway.wire import a_table

ROUTES = {
    "chat": RouteEntry(
        ["org/chat-1.5", "gpt"], [BackendEntry("chat", 2), BackendEntry("spare"), BackendEntry("off", 0)]
    ),
    "bound": RouteEntry(["bound"], [BackendEntry("chat")], preset="precise"),
}
PRESETS = {"precise": PresetEntry({"temperature": 0.1}), "wild": PresetEntry({"temperature": 2})}


def a_snapshot() -> Snapshot:
    endpoints = {
        "chat": {"chat-0": "http://127.0.0.1:81", "chat-1": "http://[::1]:82"},
        "off": {"off-0": "http://h:83"},
    }
    return load(encode(a_table(endpoints, presets=PRESETS, routes=ROUTES, revision=7)))


def test_every_name_of_a_route_is_the_same_target() -> None:
    snapshot = a_snapshot()
    assert snapshot.target("org/chat-1.5") is snapshot.target("gpt")
    assert (snapshot.target("gpt").preset, snapshot.target("gpt").picked) == (None, False)


def test_only_ready_backends_with_weight_count() -> None:
    (backend,) = a_snapshot().target("gpt").route.backends
    assert (backend.deployment, backend.weight) == ("chat", 2)
    assert [(e.replica, e.host, e.port) for e in backend.endpoints] == [
        ("chat-0", "127.0.0.1", 81),
        ("chat-1", "::1", 82),
    ]


def test_a_preset_by_name_and_by_route() -> None:
    snapshot = a_snapshot()
    assert snapshot.target("bound").preset == PRESETS["precise"]
    picked = snapshot.target("org/chat-1.5:wild")
    assert (picked.preset, picked.picked) == (PRESETS["wild"], True)


@pytest.mark.parametrize(
    ("model", "code", "listed"),
    [
        ("nope", "model_not_found", "bound, gpt, org/chat-1.5"),
        ("nope:wild", "model_not_found", "bound, gpt"),
        ("gpt:nope", "preset_not_found", "precise, wild"),
        ("gpt:", "preset_not_found", "precise, wild"),
        (":wild", "model_not_found", "bound"),
        ("GPT", "model_not_found", "gpt"),
    ],
)
def test_an_unknown_name_lists_what_there_is(model: str, code: str, listed: str) -> None:
    with pytest.raises(GatewayError) as caught:
        a_snapshot().target(model)
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, code, "model")
    assert listed in caught.value.message


def test_a_route_whose_preset_lacks_answers_nothing_rather_than_without_its_locks() -> None:
    snapshot = load(encode(a_table({}, routes=ROUTES)))
    assert snapshot.target("gpt")
    for model in ("bound", "bound:wild"):
        with pytest.raises(GatewayError, match="'precise'") as caught:
            snapshot.target(model)
        assert caught.value.status == 503


def test_a_name_claimed_twice_stays_with_the_first_route() -> None:
    routes = {"a": RouteEntry(["x"], [BackendEntry("a")]), "b": RouteEntry(["b", "x"], [BackendEntry("b")])}
    snapshot = load(encode(a_table({}, routes=routes)))
    assert snapshot.target("x").route.deployments == ("a",)


def test_the_fingerprint_is_of_the_bytes() -> None:
    data = encode(Table(revision=3))
    assert (load(data).revision, load(data).fingerprint) == (3, fingerprint(data))
    assert load(data + b"\n").fingerprint != load(data).fingerprint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b'{"routes":{"a":{"names":[],"backends":[]}}}',
        encode(Table(format=2)),
        *(
            encode(a_table({"d": {"r": address}}))
            for address in ("https://h:1", "h:1", "http://h", "http://:1", "http://h:99999", "")
        ),
    ],
)
def test_an_unusable_table_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        load(data)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"model":"a"}x', "invalid_json"),
        (b'{"model":"\xff"}', "invalid_json"),
        (b"[]", "invalid_body"),
        (b'{"model":1}', "invalid_body"),
        (b"{}", "missing_model"),
        (b'{"model":null}', "missing_model"),
        (b'{"model":""}', "missing_model"),
        (b"[" * 100_000, "invalid_body"),
        (b'{"x":' + b"[" * 100_000, "invalid_json"),
    ],
)
def test_a_body_without_a_model_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        model_of(body)
    assert (caught.value.status, caught.value.code) == (400, code)


def test_only_the_model_is_read() -> None:
    assert model_of(b'{"a":[{"model":"x"}],"model":"chat","b":{"model":"y"}}') == "chat"

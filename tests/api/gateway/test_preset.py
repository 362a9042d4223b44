"""A preset on a request body: who wins, what stays, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.gateway.openai import OPERATIONS, GatewayError, Operation
from api.gateway.preset import SYNONYMS, applied, layered
from nexus_ctl.resources.routing import PresetEntry

CHAT = OPERATIONS[b"/v1/chat/completions"]
TEXT = OPERATIONS[b"/v1/completions"]
USER = {"role": "user", "content": "hi"}


def merged(preset: PresetEntry, body: dict[str, Any], operation: Operation = CHAT) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(applied(preset, operation, json.dumps(body).encode()))
    return value


@pytest.mark.parametrize(
    ("params", "locked", "client", "engine"),
    [
        ({"temperature": 0.2}, [], {}, {"temperature": 0.2}),
        ({"temperature": 0.2}, [], {"temperature": 1}, {"temperature": 1}),
        ({"temperature": 0.2}, [], {"temperature": 0}, {"temperature": 0}),
        ({"temperature": 0.2}, [], {"temperature": None}, {"temperature": 0.2}),
        ({"temperature": 0.2}, ["temperature"], {"temperature": 1}, {"temperature": 0.2}),
        ({"temperature": 0.2}, ["top_p"], {"top_p": 0.9}, {"temperature": 0.2}),
        ({"max_tokens": 8}, [], {"max_completion_tokens": 99}, {"max_completion_tokens": 99}),
        ({"max_tokens": 8}, ["max_tokens"], {"max_completion_tokens": 99, "n_predict": 99}, {"max_tokens": 8}),
        ({"response_format": {"type": "json_object"}}, ["response_format"], {"grammar": "x"},
         {"response_format": {"type": "json_object"}}),
        ({"stop": ["."]}, [], {"stop": []}, {"stop": []}),
    ],
)  # fmt: skip
def test_who_wins(params: dict[str, object], locked: list[str], client: dict[str, Any], engine: dict[str, Any]) -> None:
    assert merged(PresetEntry(params, locked=locked), {"messages": [USER]} | client) == {"messages": [USER]} | engine


@pytest.mark.parametrize(
    ("prompt", "locked", "client", "engine"),
    [
        ("P", [], [], ["system:P"]),
        ("P", [], ["user:hi"], ["system:P", "user:hi"]),
        ("P", [], ["system:own", "user:hi"], ["system:own", "user:hi"]),
        ("P", [], ["developer:own", "user:hi"], ["developer:own", "user:hi"]),
        ("P", ["system_prompt"], ["system:own", "user:hi", "developer:more"], ["system:P", "user:hi"]),
        (None, ["system_prompt"], ["system:own", "user:hi"], ["user:hi"]),
        (None, [], ["system:own"], ["system:own"]),
    ],
)
def test_system_prompt(prompt: str | None, locked: list[str], client: list[str], engine: list[str]) -> None:
    messages = [{"role": role, "content": text} for role, text in (m.split(":") for m in client)]
    got = merged(PresetEntry(system_prompt=prompt, locked=locked), {"messages": messages})["messages"]
    assert [f"{message['role']}:{message['content']}" for message in got] == engine


def test_a_system_prompt_is_not_for_text_completion() -> None:
    assert merged(PresetEntry({"temperature": 1}, "P"), {"prompt": "x"}, TEXT) == {"prompt": "x", "temperature": 1}


@pytest.mark.parametrize("messages", ["x", {}, [1], [[]], [{"role": 1}]])
def test_unusable_messages_are_the_clients_fault(messages: object) -> None:
    with pytest.raises(GatewayError) as caught:
        merged(PresetEntry(system_prompt="P"), {"messages": messages})
    assert (caught.value.status, caught.value.param) == (400, "messages")


def test_a_body_that_no_preset_changes_keeps_its_bytes() -> None:
    body = b' { "temperature" : 0.10, "messages":[ {"role":"system","content":"own"} ] }'
    assert applied(PresetEntry({"temperature": 0.9}, "P"), CHAT, body) is body


def test_a_changed_body_keeps_the_bytes_of_every_value_it_did_not_change() -> None:
    body = b'{"seed":12345678901234567890123,"x":1.50e-3,"messages":[{"role":"user","content":"\\u00e9"}],"y":{ }}'
    got = applied(PresetEntry({"temperature": 1}, "P"), CHAT, body)
    for kept in (
        b'"seed":12345678901234567890123',
        b'"x":1.50e-3',
        b'{"role":"user","content":"\\u00e9"}',
        b'"y":{ }',
    ):
        assert kept in got


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(GatewayError, match="not JSON"):
        applied(PresetEntry({"temperature": 1}), CHAT, b'{"\xff":1}')


def test_a_picked_preset_cannot_undo_what_the_route_locks() -> None:
    route = PresetEntry({"temperature": 0.2, "top_p": 0.5}, "Route.", ["temperature", "system_prompt", "seed"])
    picked = PresetEntry({"temperature": 2, "top_p": 0.9, "seed": 1}, "Picked.", ["top_p"])
    both = layered(route, picked)
    assert (both.params, both.system_prompt) == ({"temperature": 0.2, "top_p": 0.9}, "Route.")
    assert both.locked == ["seed", "system_prompt", "temperature", "top_p"]
    assert layered(PresetEntry(system_prompt="Route."), picked).system_prompt == "Picked."
    assert layered(PresetEntry(system_prompt="Route."), PresetEntry()).system_prompt == "Route."


NAMES = st.sampled_from(["temperature", "top_p", "max_tokens", "seed", "stop", "response_format", "other"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SET = VALUES.filter(lambda value: value is not None)


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, SET), st.lists(NAMES, unique=True), st.text() | st.none())
def test_every_field_has_one_winner(
    client: dict[str, Any], params: dict[str, Any], locked: list[str], prompt: str | None
) -> None:
    body = client | {"messages": [USER]}
    preset = PresetEntry(params, prompt, locked)
    got = merged(preset, body)
    for name in {*client, *params, *locked, *got} - {"messages"}:
        if name in locked:
            assert got.get(name, ...) == params.get(name, ...)
        elif client.get(name) is not None or name not in params:
            assert got.get(name, ...) == client.get(name, ...)
        elif not any(client.get(other) is not None for other in SYNONYMS.get(name, ())):
            assert got[name] == params[name]
    assert got["messages"] == ([] if prompt is None else [{"role": "system", "content": prompt}]) + [USER]
    again = json.dumps(got).encode()
    assert applied(preset, CHAT, again) == again or {*locked} & {*params}  # a second time changes nothing
    assert json.loads(applied(preset, CHAT, again)) == got


@given(st.dictionaries(st.text(), VALUES))
def test_an_empty_preset_keeps_every_body(client: dict[str, Any]) -> None:
    body = json.dumps(client).encode()
    assert applied(PresetEntry(), CHAT, body) is body


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\ue1 ').map(str.encode))
def test_any_bytes_are_used_or_refused(junk: bytes) -> None:
    try:
        outcome = isinstance(json.loads(applied(PresetEntry({"temperature": 1}, "P"), CHAT, junk)), dict)
    except GatewayError as error:
        outcome = error.status == 400
    assert outcome is True

"""Whose turn it is."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.gateway.choose import Backend, Endpoint, backend_turn, least_loaded, name_at, without


def an_endpoint(replica: str, deployment: str = "d") -> Endpoint:
    return Endpoint(replica, deployment, "127.0.0.1", 1)


def backends(*weights: int) -> tuple[Backend, ...]:
    return tuple(Backend(f"d{n}", weight, (an_endpoint(f"d{n}-0", f"d{n}"),)) for n, weight in enumerate(weights))


def test_shares_are_spread_not_bunched() -> None:
    credit: dict[str, int] = {}
    turns = [backend_turn(backends(5, 1, 1), credit).deployment for _ in range(7)]
    assert turns == ["d0", "d0", "d1", "d0", "d2", "d0", "d0"]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.integers(1, 200))
def test_each_backend_gets_its_share_within_one_request(weights: list[int], requests: int) -> None:
    credit: dict[str, int] = {}
    counts = Counter(backend_turn(backends(*weights), credit).deployment for _ in range(requests))
    for n, weight in enumerate(weights):
        share = requests * weight / sum(weights)
        assert abs(counts[f"d{n}"] - share) < len(weights)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 5))
def test_a_whole_round_is_exact(weights: list[int], rounds: int) -> None:
    credit: dict[str, int] = {}
    counts = Counter(backend_turn(backends(*weights), credit).deployment for _ in range(rounds * sum(weights)))
    assert counts == {f"d{n}": weight * rounds for n, weight in enumerate(weights)}


def test_fewest_open_requests_then_longest_unused() -> None:
    a, b, c = (an_endpoint(name) for name in "abc")
    assert least_loaded((a, b, c), {"a": 2, "b": 1, "c": 1}, {"a": 1, "b": 9, "c": 8}) == c
    assert least_loaded((a, b, c), {"a": 1, "b": 1}, {}) == c
    assert least_loaded((a, b), {}, {"a": 1}) == b


def test_without_drops_backends_left_empty() -> None:
    first = Backend("x", 1, (an_endpoint("x-0", "x"), an_endpoint("x-1", "x")))
    second = Backend("y", 1, (an_endpoint("y-0", "y"),))
    assert without((first, second), {"x-0", "y-0"}) == (Backend("x", 1, (an_endpoint("x-1", "x"),)),)


@pytest.mark.parametrize(
    ("served", "names", "name"),
    [
        ((), ("gpt:precise", "gpt", "chat"), "gpt:precise"),
        (("qwen",), ("chat", "chat", "chat"), "qwen"),
        (("qwen",), ("qwen", "qwen", "qwen"), "qwen"),
        (("qwen", "sql"), ("sql:precise", "sql", "sql"), "sql"),
        (("qwen", "sql"), ("sql-bot", "sql-bot", "sql"), "sql"),
        (("qwen", "sql"), ("gpt", "gpt", "chat"), "qwen"),
        (("qwen", "sql"), ("sql", "sql", "chat"), "sql"),
    ],
)
def test_an_engine_is_asked_by_a_name_that_it_takes(served: tuple[str, ...], names: tuple[str, ...], name: str) -> None:
    assert name_at(Endpoint("d-0", "d", "127.0.0.1", 1, served), names) == name

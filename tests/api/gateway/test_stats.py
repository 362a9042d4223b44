"""Counting, and telling."""

from __future__ import annotations

import pytest

from api.gateway.choose import Endpoint
from api.gateway.stats import Stats, usage_of
from nexus_ctl.resources.routing import DeploymentCounters, GatewayStatus, RouteCounters


@pytest.mark.parametrize(
    ("tail", "usage"),
    [
        (b"", (0, 0)),
        (b'"usage":{"completion_tokens":7,"prompt_tokens":5,"total_tokens":12},"id":"x"}', (5, 7)),
        (b'"usage": null', (0, 0)),
        (b'"usage":{"prompt_tokens" : 5,"total_tokens":5}}', (5, 0)),
        (
            b'"usage":{"prompt_tokens":1,"completion_tokens":1}} "usage":{"prompt_tokens":2,"completion_tokens":3}',
            (2, 3),
        ),
        (rb'"content":"\"usage\":{\"prompt_tokens\":9}"', (0, 0)),
    ],
)
def test_usage(tail: bytes, usage: tuple[int, int]) -> None:
    assert usage_of(tail) == usage


def test_status_and_metrics_tell_the_same() -> None:
    stats = Stats(lambda: 7.0)
    a, b = Endpoint("a-0", "a", "h", 1), Endpoint("b-0", "b", "h", 2)
    stats.opened(a)
    stats.opened(a)
    stats.opened(b)
    stats.closed(b)
    stats.answered("chat", 200, b'"usage":{"prompt_tokens":5,"completion_tokens":7}')
    stats.answered("", 404, b"")
    routes = {"": RouteCounters({"404": 1}), "chat": RouteCounters({"200": 1}, 5, 7)}
    assert stats.status(3, "f", "bad") == GatewayStatus(3, "f", "bad", {"a-0": 2}, routes, since=7.0)
    assert stats.prometheus({"up": ("Whether.", 1)}).decode().splitlines() == [
        "# HELP nexus_gateway_requests_total Requests answered, by route and HTTP status.",
        "# TYPE nexus_gateway_requests_total counter",
        'nexus_gateway_requests_total{route="",status="404"} 1',
        'nexus_gateway_requests_total{route="chat",status="200"} 1',
        "# HELP nexus_gateway_tokens_total Tokens that engines reported, by kind.",
        "# TYPE nexus_gateway_tokens_total counter",
        'nexus_gateway_tokens_total{route="chat",kind="completion"} 7',
        'nexus_gateway_tokens_total{route="chat",kind="prompt"} 5',
        "# HELP nexus_gateway_in_flight Requests open, by replica.",
        "# TYPE nexus_gateway_in_flight gauge",
        'nexus_gateway_in_flight{deployment="a",replica="a-0"} 2',
        'nexus_gateway_in_flight{deployment="b",replica="b-0"} 0',
        "# HELP nexus_gateway_up Whether.",
        "# TYPE nexus_gateway_up gauge",
        "nexus_gateway_up 1",
    ]


def test_replicas_that_left_are_forgotten_once_they_are_idle() -> None:
    stats = Stats()
    gone, busy = Endpoint("gone", "d", "h", 1), Endpoint("busy", "d", "h", 2)
    stats.opened(gone)
    stats.closed(gone)
    stats.opened(busy)
    stats.keep([])
    text = stats.prometheus({}).decode()
    assert ('replica="gone"' in text, 'replica="busy"' in text) == (False, True)
    stats.closed(busy)
    assert stats.in_flight == {}


def test_labels_are_escaped() -> None:
    stats = Stats()
    stats.answered('a"b\\c\nd', 200, b"")
    assert r'route="a\"b\\c\nd"' in stats.prometheus({}).decode()


def test_a_deployment_counts_what_it_was_handed_and_when_that_ended() -> None:
    times = iter([10.0, 20.0, 30.0])
    stats = Stats(lambda: next(times))
    stats.answered("chat", 200, b'"usage":{"prompt_tokens":5,"completion_tokens":7}', "a")
    stats.answered("chat", 502, b"", "a")
    stats.answered("", 404, b"")
    status = stats.status(1, "f", "")
    assert (status.since, status.deployments) == (10.0, {"a": DeploymentCounters(2, 5, 7, 30.0)})

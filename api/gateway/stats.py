"""What the gateway counts, and how it tells: as `GatewayStatus` for the control plane, as text for Prometheus.

`exchange` counts, `app` tells. Counters live as long as the process; a new table resets none. Labels are names from
the table only (a client cannot make new ones); requests that matched no route count under route "".
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from api.gateway.choose import Endpoint
from nexus_ctl.resources.routing import DeploymentCounters, GatewayStatus, RouteCounters

TAIL_BYTES = 2048
"""How much of an answer's end is kept to find the token counts in; llama-server puts them into the last 700 bytes."""

_USAGE = b'"usage":'
_PROMPT = re.compile(rb'"prompt_tokens"\s*:\s*(\d+)')
_COMPLETION = re.compile(rb'"completion_tokens"\s*:\s*(\d+)')
_NOTHING = DeploymentCounters()


def usage_of(tail: bytes) -> tuple[int, int]:
    """(prompt tokens, completion tokens) that the engine reports at the end of an answer; zeros when it does not.

    In a JSON string the quotes would be escaped, so text that a model wrote cannot be taken for the report.
    """
    at = tail.rfind(_USAGE)
    if at < 0:
        return 0, 0
    prompt, completion = _PROMPT.search(tail, at), _COMPLETION.search(tail, at)
    return int(prompt[1]) if prompt else 0, int(completion[1]) if completion else 0


class Stats:
    """Counters of one gateway process. `now` is the wall clock, in seconds since 1970."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._since = now()
        self.in_flight: dict[str, int] = {}
        """Replica → open requests; absent when none."""
        self.used: dict[str, int] = {}
        """Replica → number of the last request it got, counted over all replicas."""
        self.requests: Counter[tuple[str, int]] = Counter()
        self.prompt_tokens: Counter[str] = Counter()
        self.completion_tokens: Counter[str] = Counter()
        self._deployments: dict[str, str] = {}
        self._served: dict[str, DeploymentCounters] = {}
        self._turn = 0

    def opened(self, endpoint: Endpoint) -> None:
        """A request goes to `endpoint`."""
        self._turn += 1
        self.used[endpoint.replica] = self._turn
        self.in_flight[endpoint.replica] = self.in_flight.get(endpoint.replica, 0) + 1
        self._deployments[endpoint.replica] = endpoint.deployment

    def closed(self, endpoint: Endpoint) -> None:
        """A request to `endpoint` is over, however it ended."""
        left = self.in_flight[endpoint.replica] - 1
        if left:
            self.in_flight[endpoint.replica] = left
        else:
            del self.in_flight[endpoint.replica]

    def answered(self, route: str, status: int, tail: bytes, deployment: str = "") -> None:
        """A request on `route` was answered with `status`; `tail` is the end of the answer's body.

        `deployment` is the one that it was handed to last; "" when it came to none.
        """
        self.requests[route, status] += 1
        prompt, completion = usage_of(tail)
        if prompt or completion:
            self.prompt_tokens[route] += prompt
            self.completion_tokens[route] += completion
        if deployment:
            before = self._served.get(deployment, _NOTHING)
            self._served[deployment] = DeploymentCounters(
                before.requests + 1, before.prompt_tokens + prompt, before.completion_tokens + completion, self._now()
            )

    def keep(self, replicas: Iterable[str]) -> None:
        """Forget replicas that are neither in `replicas` (those of the table) nor busy."""
        living = {*replicas, *self.in_flight}
        self.used = {name: turn for name, turn in self.used.items() if name in living}
        self._deployments = {name: owner for name, owner in self._deployments.items() if name in living}

    def status(self, revision: int, fingerprint: str, error: str) -> GatewayStatus:
        """All of it as a value."""
        routes = {
            route: RouteCounters(
                requests={str(status): n for (name, status), n in sorted(self.requests.items()) if name == route},
                prompt_tokens=self.prompt_tokens[route],
                completion_tokens=self.completion_tokens[route],
            )
            for route in sorted({route for route, _ in self.requests})
        }
        in_flight, served = dict(sorted(self.in_flight.items())), dict(sorted(self._served.items()))
        return GatewayStatus(revision, fingerprint, error, in_flight, routes, self._since, served)

    def prometheus(self, gauges: Mapping[str, tuple[str, float]]) -> bytes:
        """All of it in Prometheus' text format; `gauges` (name → help, value) are added without labels."""
        requests = [([("route", r), ("status", str(status))], n) for (r, status), n in self.requests.items()]
        prompt = [([("route", r), ("kind", "prompt")], n) for r, n in self.prompt_tokens.items()]
        completion = [([("route", r), ("kind", "completion")], n) for r, n in self.completion_tokens.items()]
        in_flight = [
            ([("deployment", owner), ("replica", replica)], self.in_flight.get(replica, 0))
            for replica, owner in self._deployments.items()
        ]
        lines = [
            *_family("requests_total", "counter", "Requests answered, by route and HTTP status.", requests),
            *_family("tokens_total", "counter", "Tokens that engines reported, by kind.", [*prompt, *completion]),
            *_family("in_flight", "gauge", "Requests open, by replica.", in_flight),
        ]
        for name, (text, value) in gauges.items():
            lines += _family(name, "gauge", text, [([], value)])
        return "\n".join([*lines, ""]).encode()


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[list[tuple[str, str]], float]]) -> list[str]:
    """One metric in Prometheus' text format. `samples`: (label, value) pairs → number."""
    lines = [f"# HELP nexus_gateway_{name} {text}", f"# TYPE nexus_gateway_{name} {kind}"]
    for labels, value in sorted(samples):
        shown = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels)
        lines.append(f"nexus_gateway_{name}{{{shown}}} {value}" if shown else f"nexus_gateway_{name} {value}")
    return lines


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

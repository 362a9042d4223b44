"""The crash matrix on the real engine: whatever is killed or refused at whatever effect, the next apply finishes.

Each pair of stacks is walked to and fro: an apply is struck at one effect, and the next apply must reach the goal in
one go (after a death of the engine in three), with nothing left over, nothing twice, and containers of others as they
were. Struck are

    apply    killed (SIGKILL) right before and right after each of its effects on the world, and while the engine is
             at work on each call that changes something
    dockerd  killed (SIGKILL) before it hears of each such call, while at work on it, and when it has done it
    a call   refused, lost on the way there, lost on the way back: each such call

Counting is automatic: a new effect or call of the product is a new case here. By default each effect and each call is
struck at one of these moments, in turns; with NEXUS_CRASHES=all (`make crashes`) at every one.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from tests.fixtures.faulting_proxy import Fault, Proxy, in_front_of
from tests.fixtures.mortal import MOMENTS, Mortal
from tests.fixtures.private_engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]

KILLED = -signal.SIGKILL
APPLY = ("apply", "--yes", "--prune", "--max-prune", "9")


def stack(folder: Path, image: str, *, replicas: int = 1, generation: int = 1, strategy: str = "startFirst") -> str:
    """The stack as YAML; without replicas there is no deployment at all."""
    serve = {"image": image, "command": ["tiny", "serve", "{host}", "{port}"]}
    chat = {
        "model": "smol",
        "engine": {"custom": serve},
        "replicas": replicas,
        "env": {"GENERATION": {"value": str(generation)}},
        "probe": {"path": "/", "interval": "20ms"},
        "rollout": {"strategy": strategy},
    }
    runtime = {"driver": "docker", "pullPolicy": "Never"}
    documents: dict[str, Any] = {
        "Stack/crash": {"runtime": runtime, "modelCache": {"path": str(folder / "cache")}},
        "Preset/anchor": {"sampling": {"temperature": 0.5}},
    }
    if replicas:
        documents |= {"Model/smol": {"source": {"path": str(folder / "model.bin")}}, "Deployment/chat": chat}
    texts = []
    for ref, spec in documents.items():
        kind, name = ref.split("/")
        texts.append({"apiVersion": "nexus/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
    return yaml.safe_dump_all(texts)


PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "create and delete": ({"replicas": 0}, {}),
    "start-first": ({}, {"generation": 2}),
    "stop-first": ({"strategy": "stopFirst"}, {"strategy": "stopFirst", "generation": 2}),
    "scale": ({}, {"replicas": 3}),
}
"""The two ends of each walk, as words of `stack`."""
ALIKE = frozenset({"start-first", "stop-first"})
"""Walks whose way back is the same as the way there."""


@dataclass
class Ground:
    """One install on the engine, its way through the proxy, and the containers of others beside it."""

    folder: Path
    image: str
    mortal: Mortal
    proxy: Proxy
    api: docker.APIClient
    engine: Engine
    others: tuple[dict[str, Any], ...] = ()
    tries: int = 1
    """An engine that comes back from SIGKILL may end containers while the next apply is at work already."""

    def declare(self, words: dict[str, Any]) -> None:
        (self.folder / "nexus.yaml").write_text(stack(self.folder, self.image, **words))

    def apply(self, **strike: Any) -> int:
        return self.mortal.run(*APPLY, **strike)

    def settle(self) -> None:
        """One apply, without a fault, that reaches the goal; after a death of the engine, `tries` of them."""
        self.proxy.count()
        code = self.apply()
        for _ in range(self.tries - 1):
            if code == 0 and self.mortal.run("plan", "--detailed-exitcode") == 0:
                return
            self.mortal.run("reconcile", "--yes")  # what ended twice by now would wait for its turn
            code = self.apply()
        assert code == 0, f"{code}\n{self.mortal.output}"

    def state(self) -> Any:
        """All that is ours on the engine and in the table, as it would look to a newcomer."""
        instance = (self.folder / ".nexus/instance").read_text().strip()
        labels = {"label": f"nexusctl/instance={instance}"}
        rows = self.api.containers(all=True, filters=labels)
        found = {row["Names"][0].lstrip("/"): row for row in rows}
        table = json.loads((self.folder / ".nexus/gateway/crash.json").read_text())
        endpoints = table["endpoints"].get("chat", {})
        ports = {name: f"http://127.0.0.1:{p['PublicPort']}" for name, row in found.items() for p in row["Ports"]}
        assert endpoints == ports, "the table names what runs, where it runs"
        return {
            "containers": {name: (row["State"], row["Labels"]["nexusctl/spec-hash"]) for name, row in found.items()},
            "networks": len(self.api.networks(filters=labels)),
        }

    def check(self, goal: Any) -> None:
        assert self.state() == goal
        assert self.mortal.run("plan", "--detailed-exitcode") == 0, self.mortal.output
        for other in self.others:
            assert self.api.inspect_container(other["Id"])["Id"] == other["Id"]


@pytest.fixture
def ground(engine: Engine, docker_api: docker.APIClient, tiny_image: str, tmp_path: Path) -> Iterator[Ground]:
    (tmp_path / "model.bin").write_bytes(b"m" * 1024)
    with in_front_of(f"{engine.run_dir}/docker.sock", tmp_path) as (proxy, url):
        mortal = Mortal(tmp_path, {"DOCKER_HOST": url, "HOME": str(tmp_path)})
        made = Ground(tmp_path, tiny_image, mortal, proxy, docker_api, engine)
        theirs = {"nexusctl/managed-by": "nexusctl", "nexusctl/instance": "elsewhere", "nexusctl/set": "crash"}
        ids = [
            docker_api.create_container(tiny_image, ["serve", "127.0.0.1", "9"], name=name, labels=labels)["Id"]
            for name, labels in (("somebodys", {}), ("crash-chat-0-elsewhere", theirs))
        ]
        made.others = tuple(docker_api.inspect_container(one) for one in ids)
        try:
            yield made
        finally:
            mortal.close()
            for row in docker_api.containers(all=True):
                docker_api.remove_container(row["Id"], force=True)
            docker_api.prune_networks()


def ends(ground: Ground, pair: str) -> list[tuple[dict[str, Any], Any, int, int]]:
    """For both ends of a walk: what is declared, the state it means, and how many effects and changing calls it takes
    to come there from the other."""
    first, second = PAIRS[pair]
    ground.declare(first)
    ground.settle()
    found = []
    for words in (second, first):
        ground.declare(words)
        ground.proxy.count(changing_only=True)
        assert ground.apply() == 0, ground.mortal.output
        calls, effects = ground.proxy.calls, len(ground.mortal.effects)
        found.append((words, ground.state(), effects, calls))
        assert effects >= calls > 0
    return found


Case = Callable[[], object]
Places = list[list[Case]]
"""Per effect or call, the ways to strike there."""


def chosen(places: Places) -> list[Case]:
    """Every way at every place, or one each, in turns."""
    if os.environ.get("NEXUS_CRASHES") == "all":
        return [case for place in places for case in place]
    return [place[number % len(place)] for number, place in enumerate(places)]


def walk(ground: Ground, pair: str, places: Callable[[int, int], Places]) -> int:
    """Strike at every place, to and fro, each from the end reached before; how often it was. Where the way back is the
    same as the way there, each takes half."""
    to_and_fro = ends(ground, pair)
    lists = [chosen(places(effects, calls)) for _, _, effects, calls in to_and_fro]
    if pair in ALIKE:
        lists = [lists[0][::2], lists[0][1::2]]
    count = sum(map(len, lists))
    while any(lists):
        for (words, goal, _, _), mine in zip(to_and_fro, lists, strict=True):
            ground.declare(words)
            if mine:
                mine.pop(0)()
            ground.settle()
            ground.check(goal)
    return count


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("pair", PAIRS)
def test_apply_killed_at_every_effect(ground: Ground, pair: str) -> None:
    def at_effect(number: int, moment: str) -> None:
        assert ground.apply(at=number, moment=moment) == KILLED, ground.mortal.output

    def in_call(number: int) -> None:
        ground.proxy.spoil(number, Fault.SENT, kill, changing_only=True)
        assert ground.apply() == KILLED, ground.mortal.output

    def places(effects: int, calls: int) -> Places:
        around: Places = [[partial(at_effect, n, m) for m in MOMENTS] for n in range(1, effects + 1)]
        return [*around, *([partial(in_call, n)] for n in range(calls))]

    assert walk(ground, pair, places) >= 8


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.usefixtures("sockets_left_by_the_sdk")
def test_the_engine_killed_at_every_call(ground: Ground, pair: str) -> None:
    def in_call(number: int, how: Fault) -> None:
        before = ground.engine.pid()
        ground.proxy.spoil(number, how, lambda _: kill(before), changing_only=True)
        assert ground.apply() in (4, 8), ground.mortal.output
        ground.engine.wait_ready()
        assert ground.engine.pid() != before

    def places(effects: int, calls: int) -> Places:
        moments = (Fault.LOST, Fault.SENT, Fault.UNANSWERED)
        return [[partial(in_call, n, how) for how in moments] for n in range(calls)]

    ground.tries = 3
    assert walk(ground, pair, places) >= 4


@pytest.mark.parametrize("pair", PAIRS)
def test_every_call_refused_or_lost(ground: Ground, pair: str) -> None:
    def spoiled(number: int, how: Fault) -> None:
        ground.proxy.spoil(number, how, changing_only=True)
        assert ground.apply() in (0, 4, 8), ground.mortal.output
        assert ground.proxy.calls > number

    def places(effects: int, calls: int) -> Places:
        ways = (Fault.REFUSED, Fault.LOST, Fault.UNANSWERED)
        return [[partial(spoiled, n, how) for how in ways] for n in range(calls)]

    assert walk(ground, pair, places) >= 4

"""FakeWorld: everything outside nexusctl in memory, with real semantics, and a session to work on it.

`FakeWorld` is what survives a crash: runtimes, cache, routing table, store. `session()` is one process: make a new one
to "start nexusctl again". `apply` goes the product's own way, only on fakes.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controllers.base import Scene
from controllers.cycle import Result, carry_out, plan_for
from controllers.looking import Options
from controllers.session import Session
from nexus_ctl.execution.world import World
from nexus_ctl.planning.plan import Plan
from nexus_ctl.resources.artifact import Request
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.replica import ReplicaState
from nexus_ctl.resources.secret import ValueFrom
from nexus_ctl.runtimes.port import Capabilities
from nexus_ctl.store import tables
from nexus_ctl.store.database import Database
from nexus_ctl.store.store import Store
from tests.fakes.artifacts import FakeArtifacts
from tests.fakes.clock import FakeClock
from tests.fakes.images import FakeImages
from tests.fakes.inline import inline_workers
from tests.fakes.routing import FakeKeys, FakeRouting
from tests.fakes.runtime import FakeRuntime, admits

INSTANCE = "5f0c2b9ad1e3"
EVERYTHING = Options()
Wrap = Callable[[World, Store], tuple[World, Any]]


@dataclass
class FakeWorld:
    """What is there whether nexusctl runs or not."""

    clock: FakeClock = field(default_factory=FakeClock)
    instance: str = INSTANCE
    memory_bytes: int | None = None
    ready_after: float = 2.0
    secrets: dict[str, str] = field(default_factory=dict)
    free_bytes: int | None = 64 * 2**30
    containers: bool = False
    """Whether the runtime has images."""
    gpus: dict[str, int] = field(default_factory=dict)
    """Bytes of each GPU, by id; none = the runtime hands out none."""

    def __post_init__(self) -> None:
        plain = Capabilities(
            driver="fake", fractional_cpu=True, gpus=bool(self.gpus), images=self.containers, adopts=True
        )
        self.runtime = FakeRuntime(
            self.clock, self.instance, ready_after=self.ready_after, memory_bytes=self.memory_bytes, capabilities=plain
        )
        self.runtime.gpus = self.gpus
        self.host = FakeRuntime(self.clock, self.instance)
        self.images = FakeImages() if self.containers else None
        self.artifacts = FakeArtifacts()
        self.routings = {"demo": FakeRouting()}
        self.keys = FakeKeys()
        self.store = _empty_store(self)
        self.runs = 0

    @property
    def routing(self) -> FakeRouting:
        """The table of the stack that most tests apply."""
        return self.routings["demo"]

    def world(self, set_name: str = "demo") -> World:
        """Every port, unbroken, as one stack has them."""
        return World(
            runtime=self.runtime,
            host=self.host,
            images=self.images,
            artifacts=self.artifacts,
            routing=self.routings.setdefault(set_name, FakeRouting()),
            keys=self.keys,
            prober=_BothProbers(self.runtime, self.host),
            secret=self.secret,
            redact=self.redact,
            fingerprint=_fingerprint,
            clock=self.clock,
            free_memory=lambda: self.free_bytes,
            gpus=self.runtime.gpu_use,
        )

    def secret(self, source: ValueFrom) -> str:
        """The value behind a reference by environment variable."""
        return self.secrets[source.env or ""]

    def redact(self, text: str) -> str:
        """No secret value survives."""
        for value in self.secrets.values():
            text = text.replace(value, "***")
        return text

    def lose_store(self) -> None:
        """The database is gone."""
        self.store = _empty_store(self)

    def session(self, wrap: Wrap | None = None, set_name: str = "demo", version: str = "1.0") -> Session:
        """One process of nexusctl."""
        self.runs += 1
        world, store = wrap(self.world(set_name), self.store) if wrap else (self.world(set_name), self.store)
        scene = Scene(
            set=set_name,
            instance=self.instance,
            version=version,
            capabilities=self.runtime.capabilities(),
            table_path=f"/state/gateway/{set_name}.json",
        )
        return Session(world, store, scene, inline_workers(), self.clock, f"op{self.runs}", "tester", "apply")

    def plan(self, stack: Stack, options: Options = EVERYTHING, **session: Any) -> Plan:
        """What would be done."""
        return plan_for(self.session(set_name=stack.name, **session), stack, options)[1]

    def apply(self, stack: Stack, options: Options = EVERYTHING, wrap: Wrap | None = None, **session: Any) -> Result:
        """Plan and carry out, as one process."""
        process = self.session(wrap, set_name=stack.name, **session)
        seen, plan = plan_for(process, stack, options)
        return carry_out(process, stack, seen, plan, report=lambda _: None)

    def state(self) -> Mapping[str, Any]:
        """The world as one comparable value: what exists and runs, never how it came about."""
        things = {
            name: (thing.state, thing.owner and (thing.owner.kind, thing.owner.name, thing.owner.replica), thing.limits)
            for runtime in (self.runtime, self.host)
            for name, thing in runtime.things.items()
        }
        table = self.routing.table
        endpoints = {
            deployment: {name: self._stands_behind(name, address) for name, address in rows.items()}
            for deployment, rows in table.endpoints.items()
        }
        return {
            "things": things,
            "networks": set(self.runtime.networks),
            "endpoints": endpoints,
            "presets": dict(table.presets),
            "routes": dict(table.routes),
            "pins": self.artifacts.pins(self.instance, "demo"),
            "keys": dict(self.keys.kept),
            "files": {key: artifact.sha256 for key, artifact in self.artifacts.delivered.items()},
        }

    def _stands_behind(self, name: str, address: str) -> bool:
        thing = self.runtime.things.get(name)
        return thing is not None and thing.address == address

    def answers(self, route: str = "chat") -> bool:
        """Whether a request to a route would be answered now."""
        table = self.routing.table
        entry = table.routes.get(route)
        backends = [backend.deployment for backend in entry.backends] if entry else []
        published = [(name, address) for each in backends for name, address in table.endpoints.get(each, {}).items()]
        return any(
            self._stands_behind(name, address)
            and self.runtime.things[name].state is ReplicaState.RUNNING
            and not self.runtime.things[name].paused
            and self.runtime._ready_at(self.runtime.things[name]) <= self.clock.monotonic()
            and admits(self.runtime.things[name], self.keys.of(name))
            for name, address in published
        )


_DATABASES: list[Database] = []
"""In-memory databases that no world uses now; a new engine would compile every statement anew."""


def _empty_store(world: FakeWorld) -> Store:
    """The real store on SQLite in memory, empty, on the world's clock; its database is used again after the world."""
    database = _DATABASES.pop() if _DATABASES else Store.open("sqlite://", world.clock).database
    with database.write() as connection:
        for table in tables.metadata.sorted_tables:
            if table is not tables.meta:
                connection.execute(table.delete())
    weakref.finalize(world, _DATABASES.append, database)
    return Store.over(database, world.clock)


class _BothProbers:
    """Asks whichever runtime the address belongs to."""

    def __init__(self, *runtimes: FakeRuntime) -> None:
        self._runtimes = runtimes

    def look(self, address: str, probe: Any, key: str = "") -> Any:
        answers = [runtime.look(address, probe, key) for runtime in self._runtimes]
        return min(answers, key=["ready", "loading", "down"].index)

    def ask(self, address: str, paths: Any, timeout_seconds: float, key: str = "") -> Mapping[str, Any]:
        told = [runtime.ask(address, paths, 1.0, key) for runtime in self._runtimes]
        return {path: answer for answers in told for path, answer in answers.items()}

    def open_requests(self, address: str, signal: Any, timeout_seconds: float, key: str = "") -> int | None:
        told = (runtime.open_requests(address, signal, timeout_seconds, key) for runtime in self._runtimes)
        return next((count for count in told if count is not None), None)


def _fingerprint(values: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16] if values else ""


def offer(world: FakeWorld, stack: Stack, size: int = 1000) -> None:
    """Have the sources of a stack's models deliver something."""
    for resource in stack.resources.values():
        if resource.kind == "Model":
            content = repr(resource.spec.source).encode()
            source = Request(resource.spec.source, resource.spec.sha256)
            world.artifacts.put(source, content, size_bytes=size)

"""Faults at single effects (T4): every mutating call outside passes a gate that can kill, refuse, delay or lie.

`Gate()` only counts. `Gate(at=k, mode=...)` strikes at the k-th effect, once. Seven modes, after the crash matrix:

    die_before      the process dies before the call
    die_after       the call took effect, then the process dies (nothing was journalled)
    die_hanging     the call took effect, hangs for an hour, then the process is killed
    error           the call fails for now, without effect
    refused         the call is refused, without effect
    timed_out       the call took effect, but the answer is an error
    unreachable     the whole runtime is away for this call

"Dying after the journal was written" is `die_after` at the journal's own effect, which is counted like the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from nexus_ctl.errors import Refused, Retryable, RuntimeUnreachable
from nexus_ctl.execution.world import World
from nexus_ctl.store.store import Store
from tests.fakes.clock import FakeClock

MODES = ("die_before", "die_after", "die_hanging", "error", "refused", "timed_out", "unreachable")
FATAL = frozenset({"die_before", "die_after", "die_hanging"})

RUNTIME = frozenset({"create", "start", "stop", "remove", "update", "adopt", "sweep"})
ARTIFACTS = frozenset({"fetch", "build", "pin", "unpin"})
ROUTING = frozenset({"change"})
KEYS = frozenset({"put", "drop"})
JOURNAL = frozenset({"begin", "done", "failed"})
OBJECTS = frozenset({"declare", "forget", "rename", "request_deletion", "write_status", "write_statuses"})


class Died(BaseException):
    """The process is gone. No handler of the product may catch this."""


class Broken(BaseException):
    """An invariant does not hold. Not an error the product could take for a failed action."""


@dataclass
class Gate:
    """Counts effects and strikes at one of them. `watch` runs after every effect: the place for invariants."""

    clock: FakeClock
    at: int | None = None
    mode: str = ""
    watch: Callable[[], str] = lambda: ""
    """Says what is wrong, or nothing."""
    count: int = 0
    names: list[str] = field(default_factory=list)
    struck: str = ""

    def wrap(self, world: World, store: Store) -> tuple[World, Any]:
        """The same world and store, with every mutating call passing this gate."""
        return (
            replace(
                world,
                runtime=Effects(world.runtime, "runtime", RUNTIME, self),
                host=Effects(world.host, "host", RUNTIME, self),
                artifacts=Effects(world.artifacts, "artifacts", ARTIFACTS, self),
                routing=Effects(world.routing, "routing", ROUTING, self),
                keys=Effects(world.keys, "keys", KEYS, self),
            ),
            _Store(store, self),
        )

    def call(self, name: str, effect: Callable[[], Any]) -> Any:
        """One effect through the gate."""
        self.count += 1
        self.names.append(name)
        if self.count != self.at:
            return self._watched(name, effect)
        self.struck = name
        if self.mode in ("die_after", "die_hanging", "timed_out"):
            self._watched(name, effect)
        if self.mode == "die_hanging":
            self.clock.sleep(3600)
        if self.mode in FATAL:
            raise Died(name)
        errors = {"error": Retryable, "timed_out": Retryable, "refused": Refused, "unreachable": RuntimeUnreachable}
        raise errors[self.mode](f"{name}: {self.mode}")

    def _watched(self, name: str, effect: Callable[[], Any]) -> Any:
        done = effect()
        if fault := self.watch():
            raise Broken(f"after effect {self.count}, {name}: {fault}")
        return done


class Effects:
    """A port whose mutating methods pass a gate: `call(name, effect)`."""

    def __init__(self, inner: Any, label: str, verbs: frozenset[str], gate: Any) -> None:
        self._inner, self._label, self._verbs, self._gate = inner, label, verbs, gate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._verbs:
            return found
        return lambda *args, **kwargs: self._gate.call(f"{self._label}.{name}", lambda: found(*args, **kwargs))


class _Store:
    """The store with its writing parts behind the gate."""

    def __init__(self, store: Store, gate: Gate) -> None:
        self.journal = Effects(store.journal, "journal", JOURNAL, gate)
        self.objects = Effects(store.objects, "objects", OBJECTS, gate)
        self.history = store.history
        self.events = store.events
        self.backoffs = store.backoffs
        self.wishes = store.wishes
        self.reports = store.reports

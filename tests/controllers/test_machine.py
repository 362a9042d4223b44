"""The stateful machine (T6): any sequence of wishes, tampering, deaths and losses ends in the declared world.

After every rule: nothing foreign was touched and no two replicas of one index run. At the end: fault-free runs reach
the declared state within bounded rounds, and then nothing happens any more.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controllers.looking import Options
from nexus_ctl.errors import NexusError
from nexus_ctl.planning.change import Verb
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.replica import ReplicaState
from tests.controllers.stacks import stacks
from tests.fakes.faults import MODES, Died, Gate
from tests.fakes.world import FakeWorld, offer

PRUNE = Options(prune=True, max_prune=99)
FOREIGN = "somebody-elses-database"


class Nexus(RuleBasedStateMachine):
    """One install and everything that may happen to it."""

    @initialize(stack=stacks())
    def begin(self, stack: Stack) -> None:
        self.world = FakeWorld()
        self.world.runtime.put_foreign(FOREIGN)
        self.stack = stack
        offer(self.world, stack)

    @rule(stack=stacks())
    def declare(self, stack: Stack) -> None:
        self.stack = stack
        offer(self.world, stack)

    @rule(prune=st.booleans())
    def apply(self, prune: bool) -> None:
        self.world.apply(self.stack, PRUNE if prune else Options())

    @rule(at=st.integers(1, 60), mode=st.sampled_from(MODES), prune=st.booleans())
    def apply_with_a_fault(self, at: int, mode: str, prune: bool) -> None:
        gate = Gate(self.world.clock, at, mode)
        with suppress(Died, NexusError):
            self.world.apply(self.stack, PRUNE if prune else Options(), wrap=gate.wrap)

    @rule(which=st.integers(0, 5))
    def kill(self, which: int) -> None:
        names = [name for name in sorted(self.world.runtime.things) if name != FOREIGN]
        if names:
            name = names[which % len(names)]
            if self.world.runtime.things[name].state is ReplicaState.RUNNING:
                self.world.runtime.kill(name)

    @rule(which=st.integers(0, 5))
    def pause(self, which: int) -> None:
        running = [t.name for t in self.world.runtime.things.values() if t.state is ReplicaState.RUNNING]
        names = sorted(name for name in running if name != FOREIGN)
        if names:
            self.world.runtime.pause(names[which % len(names)])

    @rule(which=st.integers(0, 5))
    def vanish(self, which: int) -> None:
        names = [name for name in sorted(self.world.runtime.things) if name != FOREIGN]
        if names:
            self.world.runtime.vanish(names[which % len(names)])

    @rule()
    def kill_the_gateway(self) -> None:
        for name, thing in self.world.host.things.items():
            if thing.state is ReplicaState.RUNNING:
                self.world.host.kill(name)

    @rule()
    def lose_the_store(self) -> None:
        self.world.lose_store()

    @rule()
    def lose_the_table(self) -> None:
        self.world.routing.table = type(self.world.routing.table)()

    @rule(seconds=st.sampled_from((1.0, 3600.0, 86400.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @invariant()
    def nothing_foreign_is_touched(self) -> None:
        if hasattr(self, "world"):
            assert self.world.runtime.things[FOREIGN].state is ReplicaState.RUNNING
            assert all(name != FOREIGN for _, name in self.world.runtime.calls)

    @invariant()
    def what_is_published_bears_our_label(self) -> None:
        if hasattr(self, "world"):
            rows = [name for each in self.world.routing.table.endpoints.values() for name in each]
            assert FOREIGN not in rows

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        # Faults may have spoken against a revision, and kills have made replicas wait: ask for all of it once more.
        settle = replace(PRUNE, retry=frozenset({*self.stack.resources, Ref("Gateway", self.stack.name)}))
        for _ in range(5):
            self.world.apply(self.stack, settle)
            if not self.world.plan(self.stack, settle).nodes:
                break
        assert self.world.plan(self.stack, PRUNE).nodes == ()
        gate = Gate(self.world.clock)
        for _ in range(3):
            self.world.apply(self.stack, PRUNE, wrap=gate.wrap)
        assert set(gate.names) <= {"objects.declare"}, "three idle rounds without an effect"
        self.check_goal()

    def check_goal(self) -> None:
        plan = self.world.plan(self.stack, PRUNE)
        assert all(change.verb in (Verb.NO_OP, Verb.BLOCKED) for change in plan.changes)
        running = Counter(
            (thing.owner.name, thing.owner.replica)
            for thing in self.world.runtime.things.values()
            if thing.owner is not None and thing.state is ReplicaState.RUNNING
        )
        assert all(count == 1 for count in running.values())
        wanted = {
            (resource.metadata.name, index)
            for resource in self.stack.resources.values()
            if resource.kind == "Deployment" and resource.spec.drift == "heal"
            for index in range(resource.spec.replicas)
        }
        assert wanted <= running.keys()


TestNexus = Nexus.TestCase

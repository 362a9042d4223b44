"""What planning costs: CPU of each phase for 1,000 and 10,000 resources on the fakes' world, and of the whole command.

The fakes answer from memory, so that what is measured is ours. Peers: the bare YAML loader on the same text; ten times
the smaller stack, which shows whether planning grows in proportion. Then what a plan asks and what an apply with
nothing to do changes.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from typing import TypeVar

import yaml

from benchmarks import manifests
from benchmarks.child import NEXUSCTL, spend
from benchmarks.row import Row
from controllers.cycle import see
from controllers.looking import Options
from controllers.reconciler import reconcile
from nexus_ctl.cli.main import rare_collections
from nexus_ctl.manifest.stack import load
from nexus_ctl.resources.declared import Stack
from nexus_ctl.views import plan as plan_view
from tests.fakes.world import FakeWorld, offer

SMALL, LARGE = 1_000, 10_000
ROOMY = 1 << 50
"""Bytes of memory that are free: enough for every replica."""
ROUNDS = 5
COMMAND_ROUNDS = 3
SMALL_LIMIT_MS = 2000
OPTIONS = Options()
T = TypeVar("T")


class Stopwatch:
    """CPU milliseconds of this process, by what they were spent on."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}

    def of(self, name: str, work: Callable[[], T]) -> T:
        """Do it, and note what it cost."""
        start = process_time()
        result = work()
        self.spent.setdefault(name, []).append((process_time() - start) * 1000)
        return result

    def median(self, name: str) -> float:
        """The median of one phase."""
        return statistics.median(self.spent[name])

    @property
    def total(self) -> float:
        """All phases but the peer's."""
        return sum(self.median(name) for name in PHASES)


PHASES = ("load", "look", "reconcile", "render")


def planned(path: Path, world: FakeWorld, watch: Stopwatch) -> Stack:
    """One plan, phase by phase, and the bare loader beside it."""
    with path.open() as stream:
        text = stream.read()
    watch.of("bare YAML", lambda: sum(1 for _ in yaml.load_all(text, Loader=yaml.CSafeLoader)))
    stack = watch.of("load", lambda: load([str(path)]))
    offer(world, stack)
    seen = watch.of("look", lambda: see(world.session(set_name=stack.name), stack, OPTIONS))
    plan = watch.of("reconcile", lambda: reconcile(stack, seen, OPTIONS))
    watch.of("render", lambda: plan_view.text(plan))
    return stack


def phases(folder: Path, resources: int, world: FakeWorld, rounds: int) -> Stopwatch:
    """The medians of planning so many resources on `world`."""
    watch = Stopwatch()
    for _ in range(rounds):
        planned(manifests.write(folder, resources), world, watch)
    return watch


def rows(name: str, watch: Stopwatch) -> list[Row]:
    """A row per phase."""
    peers = {"load": ("yaml.CSafeLoader", watch.median("bare YAML"))}
    return [Row(f"plan {name}: {phase}", watch.median(phase), "ms CPU", *peers.get(phase, ())) for phase in PHASES]


def effects(world: FakeWorld) -> int:
    """Mutating calls that the world has had."""
    return len(world.runtime.calls) + len(world.host.calls) + world.routing.writes + world.artifacts.fetches


def run() -> Sequence[Row]:
    """Phases, totals, the idle plan and apply, and the whole command."""
    rare_collections()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phases(folder, 100, FakeWorld(free_bytes=ROOMY), 1)  # warm: imports and what is read from annotations once
        small = phases(folder, SMALL, FakeWorld(free_bytes=ROOMY), ROUNDS)
        large = phases(folder, LARGE, FakeWorld(free_bytes=ROOMY), COMMAND_ROUNDS)
        standing = FakeWorld(free_bytes=ROOMY)
        stack = load([str(manifests.write(folder, SMALL))])
        offer(standing, stack)
        standing.apply(stack)
        listed, done = standing.runtime.lists, effects(standing)
        idle = phases(folder, SMALL, standing, ROUNDS)
        lists = (standing.runtime.lists - listed) / ROUNDS
        result = standing.apply(stack)
        changed = effects(standing) - done + len(result.plan.nodes)
        command = {size: _command(folder, size) for size in (4, SMALL, LARGE)}
    return [
        *rows("1,000", small),
        Row("plan 1,000: all phases", small.total, "ms CPU", at_most=SMALL_LIMIT_MS),
        *rows("10,000", large),
        Row("plan 10,000: all phases", large.total, "ms CPU", "10 x 1,000", 10 * small.total, ratio_at_most=1.3),
        Row("idle plan of 1,000 existing", idle.total, "ms CPU", "plan 1,000", small.total, at_most=SMALL_LIMIT_MS),
        Row("lists of the runtime in a plan", lists, "", at_most=1),
        Row("mutating calls of an idle apply", changed, "", at_most=0),
        Row("nexusctl plan, 1,000", command[SMALL], "ms CPU", "the same of 4", command[4], at_most=SMALL_LIMIT_MS),
        Row("nexusctl plan, 10,000", command[LARGE], "ms CPU", "10 x 1,000", 10 * command[SMALL], ratio_at_most=1.3),
    ]


def _command(folder: Path, resources: int) -> float:
    manifests.write(folder, resources)
    spend([NEXUSCTL, "plan"], folder)
    return statistics.median(spend([NEXUSCTL, "plan"], folder).cpu_seconds * 1000 for _ in range(COMMAND_ROUNDS))

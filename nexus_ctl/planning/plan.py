"""The plan: changes in order and the graph of their actions. A value: printable, comparable, decided before anything
moves.

`assemble` numbers every change's steps and ties them together: a resource waits for what it refers to, lower waves go
before higher ones, removals come after everything else in reverse order (R13, R17). Ids grow along every edge, so the
graph cannot have a cycle.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nexus_ctl.errors import Bug
from nexus_ctl.planning.action import Action, subject
from nexus_ctl.planning.change import REMOVING, Change, Reason, Verb, on_the_way
from nexus_ctl.planning.machine import DeviceChange
from nexus_ctl.resources.declared import Input
from nexus_ctl.resources.envelope import Ref

FORMAT_VERSION = "1.0"
"""Of the JSON form: ignore an unknown minor, reject an unknown major (R5)."""


@dataclass(frozen=True, slots=True)
class Node:
    """One action of the plan. It starts when all of `needs` are done; with `rescues`, only when that one failed."""

    id: int
    ref: Ref
    action: Action
    reason: str
    needs: tuple[int, ...] = ()
    rescues: int | None = None

    def __str__(self) -> str:
        needs = ",".join(map(str, self.needs)) + (f"!{self.rescues}" if self.rescues is not None else "")
        what = f"{self.ref.kind.lower()}:{subject(self.action)}, {type(self.action).__name__}"
        return f"[{needs}] -> #{self.id} {what}, {self.reason}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done. `orphans` are objects of this set that no manifest declares; without `--prune` they stay."""

    set: str
    instance: str
    changes: tuple[Change, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[Input, ...] = ()
    environment: str = ""
    orphans: tuple[Ref, ...] = ()
    runtime: str = ""
    """The driver and why it was chosen."""
    devices: tuple[DeviceChange, ...] = ()
    """The GPUs before and after."""

    def __str__(self) -> str:
        """One line per action, stable: the form that golden tests compare."""
        return "\n".join(map(str, self.nodes))

    @property
    def empty(self) -> bool:
        """Nothing to do and nothing refused."""
        return all(change.verb is Verb.NO_OP for change in self.changes)

    @property
    def blocked(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.verb is Verb.BLOCKED)

    @property
    def destroys(self) -> bool:
        """Whether anything of the user's goes away or stops answering, so that a person should be asked."""
        return any(c.verb in REMOVING or c.destroys_data or c.restarts or c.gap for c in self.changes)

    def summary(self) -> Mapping[Verb, int]:
        """How many changes of each verb."""
        return Counter(change.verb for change in self.changes)


@dataclass
class _Numbering:
    """Ids given so far, and per resource the nodes its work ends with."""

    nodes: list[Node] = field(default_factory=list)
    ends: dict[Ref, tuple[int, ...]] = field(default_factory=dict)
    exits: dict[Ref, frozenset[int]] = field(default_factory=dict)
    """The same; of a resource that has nothing to do, the exits of what it depends on."""

    def after(self, targets: Iterable[Ref]) -> frozenset[int]:
        """What must be done before something that depends on `targets`."""
        return frozenset(end for target in targets for end in self.exits.get(target, ()))

    def add(self, change: Change, after: frozenset[int], waits: tuple[int, ...]) -> None:
        """Number a change's steps; its first ones wait for `waits`. What depends on an idle one waits for `after`."""
        base = len(self.nodes)
        code = change.codes[0] if change.codes else "requested"
        for step in change.steps:
            own = tuple(base + i for i in step.needs)
            needs = own or waits
            rescued = base + step.rescues if step.rescues is not None else None
            self.nodes.append(Node(len(self.nodes), change.ref, step.action, code, needs, rescued))
        way = on_the_way(change.steps)
        followed = {need for i in way for need in change.steps[i].needs}
        ends = tuple(base + i for i in way if i not in followed)
        self.ends[change.ref], self.exits[change.ref] = ends, frozenset(ends) or after


def assemble(
    changes: Iterable[Change], edges: Mapping[Ref, frozenset[Ref]], waves: Mapping[Ref, int]
) -> tuple[tuple[Change, ...], tuple[Node, ...]]:
    """Changes in the order they will run, and the numbered graph of their actions.

    `edges` maps a resource to what must be Ready before it. Raises Bug on a cycle: the loader has refused those.
    """
    by_ref = {change.ref: change for change in changes}
    making = [ref for ref, change in by_ref.items() if change.verb not in REMOVING]
    removing = [ref for ref, change in by_ref.items() if change.verb in REMOVING]
    numbering = _Numbering()
    order: list[Ref] = []
    behind: dict[int, list[int]] = {}
    lower: dict[int, tuple[int, ...]] = {}
    """Wave → the ends of all lower waves; one tuple for all that wait for the same."""
    for ref in _sorted(making, edges, waves):
        after, wave = numbering.after(edges.get(ref, ())), waves.get(ref, 0)
        if wave not in lower:
            lower[wave] = tuple(sorted(end for other, ends in behind.items() if other < wave for end in ends))
        numbering.add(by_ref[ref], after, tuple(sorted(after.union(lower[wave]))) if after else lower[wave])
        if numbering.ends[ref]:
            behind.setdefault(wave, []).extend(numbering.ends[ref])
            lower = {other: ends for other, ends in lower.items() if other <= wave}
        order.append(ref)
    made = tuple(sorted(end for ref in making for end in numbering.ends[ref]))
    reverse: dict[Ref, set[Ref]] = {}
    for ref in removing:
        for target in edges.get(ref, frozenset()):
            reverse.setdefault(target, set()).add(ref)
    backward = {ref: frozenset(found) for ref, found in reverse.items()}
    for ref in _sorted(removing, backward, {}):
        after = numbering.after(backward.get(ref, ()))
        numbering.add(by_ref[ref], after, tuple(sorted(after.union(made))) if after else made)
        order.append(ref)
    return tuple(by_ref[ref] for ref in order), tuple(numbering.nodes)


def _sorted(refs: list[Ref], edges: Mapping[Ref, frozenset[Ref]], waves: Mapping[Ref, int]) -> list[Ref]:
    """Topological order; ties go by wave, then by name."""
    inside = set(refs)
    waiting = {ref: {target for target in edges.get(ref, frozenset()) if target in inside} for ref in refs}
    dependents: dict[Ref, list[Ref]] = {}
    for ref, targets in waiting.items():
        for target in targets:
            dependents.setdefault(target, []).append(ref)
    ready = [(waves.get(ref, 0), ref) for ref, targets in waiting.items() if not targets]
    heapq.heapify(ready)
    order: list[Ref] = []
    while ready:
        _, ref = heapq.heappop(ready)
        order.append(ref)
        for dependent in dependents.get(ref, ()):
            waiting[dependent].discard(ref)
            if not waiting[dependent]:
                heapq.heappush(ready, (waves.get(dependent, 0), dependent))
    if len(order) != len(refs):
        raise Bug(f"the plan's dependencies form a cycle among {sorted(map(str, inside - set(order)))}")
    return order


def blocked(ref: Ref, reason: Reason, *more: Reason) -> Change:
    """A change that may not happen."""
    return Change(ref, Verb.BLOCKED, (reason, *more))

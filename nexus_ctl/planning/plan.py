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
from nexus_ctl.planning.change import REMOVING, Change, Reason, Verb, is_rescue
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
        return any(c.verb in REMOVING or c.destroys_data or c.restarts for c in self.changes)

    def summary(self) -> Mapping[Verb, int]:
        """How many changes of each verb."""
        return Counter(change.verb for change in self.changes)


@dataclass
class _Numbering:
    """Ids given so far, and per resource the nodes its work ends with."""

    nodes: list[Node] = field(default_factory=list)
    exits: dict[Ref, tuple[int, ...]] = field(default_factory=dict)

    def add(self, change: Change, before: Iterable[int]) -> None:
        """Number a change's steps; its first ones wait for `before`."""
        base = len(self.nodes)
        waits = tuple(sorted(set(before)))
        code = change.codes[0] if change.codes else "requested"
        for step in change.steps:
            own = tuple(base + i for i in step.needs)
            needs = own or waits
            rescued = base + step.rescues if step.rescues is not None else None
            self.nodes.append(Node(len(self.nodes), change.ref, step.action, code, needs, rescued))
        way = [i for i in range(len(change.steps)) if not is_rescue(change.steps, i)]
        followed = {need for i in way for need in change.steps[i].needs}
        self.exits[change.ref] = tuple(base + i for i in way if i not in followed)


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
    behind: dict[int, set[int]] = {}
    for ref in _sorted(making, edges, waves):
        before = _exits(numbering, ref, edges)
        for wave, ends in behind.items():
            if wave < waves.get(ref, 0):
                before |= ends
        numbering.add(by_ref[ref], before)
        behind.setdefault(waves.get(ref, 0), set()).update(numbering.exits[ref])
        order.append(ref)
    made = {i for ref in making for i in numbering.exits[ref]}
    reverse: dict[Ref, set[Ref]] = {}
    for ref in removing:
        for target in edges.get(ref, frozenset()):
            reverse.setdefault(target, set()).add(ref)
    backward = {ref: frozenset(found) for ref, found in reverse.items()}
    for ref in _sorted(removing, backward, {}):
        numbering.add(by_ref[ref], made | _exits(numbering, ref, backward))
        order.append(ref)
    return tuple(by_ref[ref] for ref in order), tuple(numbering.nodes)


def _exits(numbering: _Numbering, ref: Ref, edges: Mapping[Ref, frozenset[Ref]]) -> set[int]:
    """The last actions of everything `ref` depends on, looking through resources that have nothing to do."""
    found: set[int] = set()
    seen: set[Ref] = set()
    todo = list(edges.get(ref, frozenset()))
    while todo:
        target = todo.pop()
        if target in seen:
            continue
        seen.add(target)
        ends = numbering.exits.get(target, ())
        found.update(ends)
        if not ends:
            todo.extend(edges.get(target, frozenset()))
    return found


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

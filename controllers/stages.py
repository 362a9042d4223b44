"""Status while work is under way: what `get -w` in another terminal shows between the look before and the look after.

Each stage is a legal step of the lifecycle (`resources/lifecycle.py`); the assessment of the final look overwrites all
of it. A deployment that goes on serving during an exchange stays READY.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nexus_ctl.execution.report import Began, Fetching, Outcome, Report, Status
from nexus_ctl.planning.action import (
    Action,
    AwaitReady,
    ConvertModel,
    FetchModel,
    QuantizeModel,
    StartReplica,
    StopReplica,
    Withdraw,
    subject,
)
from nexus_ctl.planning.change import Verb
from nexus_ctl.planning.plan import Plan
from nexus_ctl.resources.conditions import RECONCILING, Condition
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.lifecycle import parse, walk
from nexus_ctl.store.records import StoredObject
from nexus_ctl.store.store import Store

BEGINS: Mapping[type[Action], str] = {
    FetchModel: "DOWNLOADING",
    ConvertModel: "CONVERTING",
    QuantizeModel: "QUANTIZING",
    StartReplica: "LOADING",
    Withdraw: "UNLOADING",
}
ENDS: Mapping[type[Action], Mapping[Status, str]] = {
    FetchModel: {Status.DONE: "DOWNLOADED", Status.FAILED: "FAILED:DOWNLOADING"},
    ConvertModel: {Status.DONE: "DOWNLOADED", Status.FAILED: "FAILED:BUILDING"},
    QuantizeModel: {Status.DONE: "DOWNLOADED", Status.FAILED: "FAILED:BUILDING"},
    StartReplica: {Status.FAILED: "FAILED:LOADING"},
    AwaitReady: {Status.DONE: "READY", Status.FAILED: "FAILED:LOADING"},
    StopReplica: {Status.DONE: "STOPPED"},
}
INTERRUPTING = frozenset({Verb.CREATE, Verb.RESTART, Verb.REPLACE_STOP_FIRST, Verb.DELETE, Verb.PRUNE})
"""Verbs in whose course nothing serves; in all others a deployment goes on serving."""


@dataclass
class Stages:
    """Writes stages into the store and passes every report on. One per operation, called from the walk's thread."""

    store: Store
    plan: Plan
    then: Report
    _objects: dict[Ref, StoredObject] = field(default_factory=dict)
    _stage: dict[Ref, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shown = {c.ref for c in self.plan.changes if c.verb in INTERRUPTING or c.ref.kind == "Model"}
        self._objects = {item.ref: item for item in self.store.objects.all(self.plan.set) if item.ref in shown}
        self._stage = {ref: item.lifecycle for ref, item in self._objects.items()}

    def __call__(self, event: Began | Fetching | Outcome) -> None:
        match event:
            case Began(node):
                self._enter(node.ref, node.action, BEGINS.get(type(node.action), ""))
            case Outcome(node, status):
                self._enter(node.ref, node.action, ENDS.get(type(node.action), {}).get(status, ""))
            case Fetching():
                pass
        self.then(event)

    def _enter(self, ref: Ref, action: Action, stage: str) -> None:
        item = self._objects.get(ref)
        if item is None or not stage or stage == self._stage[ref]:
            return
        walk(parse(self._stage[ref]), stage)
        self._stage[ref] = stage
        working = Condition(RECONCILING, "True", type(action).__name__, subject(action))
        self.store.objects.write_status(
            self.plan.set,
            ref,
            (*(c for c in item.conditions if c.type != RECONCILING), working),
            observed_generation=item.observed_generation,
            lifecycle=stage,
            columns=item.columns,
        )

"""How one object came out of an apply: the word that its line ends with, and what went wrong. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from nexus_ctl.errors import NexusError
from nexus_ctl.execution.report import Outcome, Status
from nexus_ctl.planning.change import Change, Verb, on_the_way
from nexus_ctl.planning.plan import Node, Plan
from nexus_ctl.resources.envelope import Ref


class Ending(StrEnum):
    """How one object came out of an apply: the word its line ends with."""

    CREATED = "created"
    CONFIGURED = "configured"
    REPLACED = "replaced"
    RESTARTED = "restarted"
    ADOPTED = "adopted"
    FORGOTTEN = "forgotten"
    DELETED = "deleted"
    PRUNED = "pruned"
    UNCHANGED = "unchanged"
    BLOCKED = "blocked"
    FAILED = "failed"
    REVERTED = "reverted"
    SKIPPED = "skipped"


ENDINGS = {
    Verb.CREATE: Ending.CREATED,
    Verb.UPDATE: Ending.CONFIGURED,
    Verb.REPLACE_START_FIRST: Ending.REPLACED,
    Verb.REPLACE_STOP_FIRST: Ending.REPLACED,
    Verb.RESTART: Ending.RESTARTED,
    Verb.ADOPT: Ending.ADOPTED,
    Verb.FORGET: Ending.FORGOTTEN,
    Verb.DELETE: Ending.DELETED,
    Verb.PRUNE: Ending.PRUNED,
    Verb.NO_OP: Ending.UNCHANGED,
    Verb.BLOCKED: Ending.BLOCKED,
}
BAD = frozenset({Ending.FAILED, Ending.REVERTED, Ending.SKIPPED, Ending.BLOCKED})


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """One object's end: the word, and what went wrong."""

    ref: Ref
    ending: Ending
    detail: str = ""
    error: NexusError | None = None


def ending_of(change: Change, plan: Plan, nodes: Sequence[Node], outcomes: Mapping[int, Outcome]) -> ObjectResult:
    if change.verb is Verb.BLOCKED:
        reason = change.reasons[0]
        return ObjectResult(
            change.ref, Ending.BLOCKED, f"{reason.code}: {reason.detail}" if reason.detail else reason.code
        )
    way = [nodes[i] for i in on_the_way(change.steps)]
    failed = next((outcomes[node.id] for node in way if outcomes[node.id].status is Status.FAILED), None)
    if failed is not None:
        detail = failed.error.detail if failed.error is not None else ""
        return ObjectResult(change.ref, Ending.FAILED, detail, failed.error)
    skipped = next((outcomes[node.id] for node in way if outcomes[node.id].status is Status.SKIPPED), None)
    if skipped is not None:
        cause = plan.nodes[skipped.because].ref if skipped.because is not None else None
        return ObjectResult(change.ref, Ending.SKIPPED, f"DependencyFailed: {cause}" if cause else "interrupted")
    return ObjectResult(change.ref, ENDINGS[change.verb])

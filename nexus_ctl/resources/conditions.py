"""Conditions: what is true of an object, each with its reason (R24), and the one status word they add up to.

Controllers assess a fresh observation into conditions; the store merges them with those it holds; tables, JSON, the
API and the status page read them. There is no phase: the word in a table is computed here, from conditions alone.
An absent condition means Unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from nexus_ctl.clock import moment, stamp

Status = Literal["True", "False", "Unknown"]

READY = "Ready"
"""The summary: the object does what its current generation says."""
RECONCILING = "Reconciling"
"""Work towards the current generation is under way."""
STALLED = "Stalled"
"""Trying again is useless until somebody changes something."""
DRIFTED = "Drifted"
"""The world was changed outside nexusctl."""
PLACED = "Placed"
"""Every replica has its place in memory, with the bytes counted on; or there is none, and why."""
EFFECTIVE = "Effective"
"""The engines loaded what is declared, by their own word."""
SUSPENDED = "Suspended"
"""Observed and reported, but not acted upon (R26)."""
OF_MODELS = ("Downloaded", "Converted", "Quantized", "Verified")
OF_DEPLOYMENTS = ("Started", "Healthy", "Routed")
TYPES = (READY, RECONCILING, STALLED, DRIFTED, PLACED, EFFECTIVE, SUSPENDED, *OF_MODELS, *OF_DEPLOYMENTS)
"""Every type that an object may have; what one can wait for."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is or is not so. `type` is an adjective or past participle, `reason` one CamelCase word.

    `observed_generation` 0 and `last_transition_time` None mean "just assessed": `merge` fills them in.
    """

    type: str
    status: Status
    reason: str
    message: str = ""
    observed_generation: int = 0
    last_transition_time: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """The form of `-o json`, of the API and of the store; keys are stable."""
        return {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": self.observed_generation,
            "lastTransitionTime": stamp(self.last_transition_time) if self.last_transition_time else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Condition:
        """From `to_json`'s form."""
        since = value["lastTransitionTime"]
        return cls(
            type=value["type"],
            status=value["status"],
            reason=value["reason"],
            message=value["message"],
            observed_generation=value["observedGeneration"],
            last_transition_time=moment(since) if since else None,
        )


def is_ready(conditions: Iterable[Condition]) -> bool:
    """Whether they say Ready."""
    return any(one.type == READY and one.status == "True" for one in conditions)


def merge(old: Iterable[Condition], new: Iterable[Condition], now: datetime, generation: int) -> tuple[Condition, ...]:
    """`new` as it is to be stored: sorted by type, speaking of `generation`, with true transition times.

    `last_transition_time` is kept while the status of a type stays the same, whatever happens to reason and message;
    otherwise it is `now`. A type that `new` leaves out is gone, that is Unknown. Of repeated types the last counts.
    """
    before = {condition.type: condition for condition in old}
    after = {condition.type: condition for condition in new}
    return tuple(
        replace(
            condition,
            observed_generation=generation,
            last_transition_time=_since(before.get(type_), condition) or now,
        )
        for type_, condition in sorted(after.items())
    )


def _since(before: Condition | None, after: Condition) -> datetime | None:
    return before.last_transition_time if before is not None and before.status == after.status else None


@dataclass(frozen=True, slots=True)
class Summary:
    """The status word of a table and the reason in brackets: `Failed(ImageNotFound)`, `Current`."""

    word: Literal["Current", "InProgress", "Failed", "Terminating", "Suspended", "Unknown"]
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.word}({self.reason})" if self.reason else self.word


def summary(conditions: Iterable[Condition], generation: int, *, deleting: bool = False) -> Summary:
    """The kstatus word of an object; the first line that holds answers.

    ==================================================  ======================
    deletion requested                                  Terminating (reason of Stalled, if stuck)
    Suspended is True                                   Suspended(reason)
    Stalled is True for this generation                 Failed(reason)
    Ready is absent and nothing is Reconciling          Unknown
    Ready speaks of an older generation                 InProgress(OutOfDate)
    Reconciling is True                                 InProgress(its reason)
    Ready is True                                       Current, Current(Drifted)
    Ready is Unknown                                    Unknown(reason)
    Ready is False                                      InProgress(reason)
    ==================================================  ======================

    Source of the order: kstatus of kubernetes-sigs/cli-utils, with Suspended added.
    """
    found = {condition.type: condition for condition in conditions}
    ready, reconciling = found.get(READY), _true(found.get(RECONCILING))
    stalled = _true(found.get(STALLED))
    if stalled is not None and stalled.observed_generation != generation:
        stalled = None
    if deleting:
        return Summary("Terminating", stalled.reason if stalled else "")
    if suspended := _true(found.get(SUSPENDED)):
        return Summary("Suspended", suspended.reason)
    if stalled:
        return Summary("Failed", stalled.reason)
    if ready is None and reconciling is None:
        return Summary("Unknown")
    if ready is not None and ready.observed_generation != generation:
        return Summary("InProgress", "OutOfDate")
    if reconciling:
        return Summary("InProgress", reconciling.reason)
    assert ready is not None
    if ready.status == "True":
        return Summary("Current", "Drifted" if _true(found.get(DRIFTED)) else "")
    return Summary("Unknown" if ready.status == "Unknown" else "InProgress", ready.reason)


def _true(condition: Condition | None) -> Condition | None:
    return condition if condition is not None and condition.status == "True" else None

"""When the loop looks again, and which objects it leaves alone until when. Pure: the loop hands in the time.

All times are monotonic seconds. The rule: what wakes the loop only moves `look_at`; what is to be done follows from the
look. Work that failed is tried again at growing intervals, or, where trying is useless, once the wish has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf

from nexus_ctl.planning.change import Verb
from nexus_ctl.planning.plan import Plan
from nexus_ctl.resources.envelope import Ref

RESYNC_SECONDS = 30.0
"""A full look at the latest after so long without any reason (R21)."""
JITTER = 0.1
"""Share of it that is taken off by chance."""
CALM_SECONDS = 1.0
"""After a look that found nothing to do, events wait so long: a storm of them is one look a second (R23)."""
FIRST_SECONDS, LONGEST_SECONDS = 1.0, 300.0
"""Pause after work on an object failed, doubling up to the longest (R23)."""
AWAY_SECONDS = 30.0
"""The longest pause while the world cannot be looked at."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Work on one object: for which generation, how often in a row it failed, and when there may be more of it."""

    generation: int
    failures: int
    again_at: float


@dataclass(frozen=True, slots=True)
class Failure:
    """How the work on one object came out badly. `useless`: trying again without a change is."""

    ref: Ref
    useless: bool


@dataclass(frozen=True, slots=True)
class Agenda:
    """What the loop remembers from one look to the next; losing it costs one look."""

    look_at: float = 0.0
    calm_until: float = 0.0
    looks_failed: int = 0
    attempts: Mapping[Ref, Attempt] = field(default_factory=dict)


def noticed(agenda: Agenda, now: float) -> Agenda:
    """Something may have happened: look, at once or as soon as it is calm."""
    return replace(agenda, look_at=min(agenda.look_at, max(now, agenda.calm_until)))


def due(agenda: Agenda, plan: Plan, generations: Mapping[Ref, int], now: float) -> frozenset[Ref]:
    """The objects that something is to be done to now."""
    moving = [change.ref for change in plan.changes if change.verb not in (Verb.NO_OP, Verb.BLOCKED)]
    return frozenset(ref for ref in moving if _again_at(agenda, ref, generations) <= now)


def _again_at(agenda: Agenda, ref: Ref, generations: Mapping[Ref, int]) -> float:
    attempt = agenda.attempts.get(ref)
    return attempt.again_at if attempt is not None and attempt.generation == generations.get(ref, 0) else -inf


def rested(agenda: Agenda, now: float, waits: Iterable[float], *, resync_seconds: float, chance: float) -> Agenda:
    """After a look that found nothing due. `waits` are seconds until replicas may be started again."""
    times = [now + resync_seconds * (1 - JITTER * chance), *(now + wait for wait in waits if wait > 0)]
    times += [attempt.again_at for attempt in agenda.attempts.values() if attempt.again_at > now]
    return replace(agenda, look_at=min(times), calm_until=now + CALM_SECONDS, looks_failed=0)


def worked(agenda: Agenda, now: float, generations: Mapping[Ref, int], failures: Iterable[Failure]) -> Agenda:
    """After work on the objects of `generations`: look again at once, until nothing is due. What was done well waits
    until it is calm, so that an object that is never satisfied cannot keep the loop busy."""
    attempts = {**agenda.attempts, **{ref: Attempt(each, 0, now + CALM_SECONDS) for ref, each in generations.items()}}
    for one in failures:
        before, generation = agenda.attempts.get(one.ref), generations[one.ref]
        count = 1 + (before.failures if before is not None and before.generation == generation else 0)
        pause = inf if one.useless else pause_seconds(count, LONGEST_SECONDS)
        attempts[one.ref] = Attempt(generation, count, now + pause)
    return replace(agenda, look_at=now, looks_failed=0, attempts=attempts)


def blind(agenda: Agenda, now: float) -> Agenda:
    """After a look that was not possible: the runtime or the store is away."""
    count = agenda.looks_failed + 1
    return replace(agenda, look_at=now + pause_seconds(count, AWAY_SECONDS), looks_failed=count)


def pause_seconds(failures: int, longest: float) -> float:
    """The pause after so many failures in a row."""
    return min(FIRST_SECONDS * 2.0 ** min(failures - 1, 16), longest)

"""What a cycle writes down: wishes before it acts, and afterwards status, lessons, events and how each revision ended.

The rule: status is written from a fresh look, never from what the plan hoped; nothing is written where nothing differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controllers import healing
from controllers.base import Assessment
from controllers.endings import BAD, Ending, ObjectResult
from controllers.learning import lessons
from controllers.looking import Look
from controllers.session import Session
from nexus_ctl.execution.report import Outcome
from nexus_ctl.planning.action import subject
from nexus_ctl.planning.change import REMOVING, Verb
from nexus_ctl.planning.plan import Node, Plan
from nexus_ctl.resources.conditions import SUSPENDED, is_ready, merge
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.kinds import KINDS
from nexus_ctl.resources.lifecycle import parse, walk
from nexus_ctl.resources.observed import Recorded
from nexus_ctl.store.records import Assessed, Declaration, Event, StoredObject
from nexus_ctl.store.store import Store


def recorded(store: Store, set_name: str) -> Mapping[Ref, Recorded]:
    """What the store remembers of a set."""
    return {item.ref: _remembered(item) for item in store.objects.all(set_name)}


def _remembered(item: StoredObject) -> Recorded:
    return Recorded(
        item.ref,
        item.spec,
        item.generation,
        ",".join(sorted(item.protected)),
        item.suspended.reason or "suspended" if item.suspended is not None else "",
        item.former_names,
    )


class Journal:
    """The store's journal as the walk sees it: effects of one operation, by node."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(self, node: Node) -> None:
        self._session.store.journal.begin(
            self._session.op_id,
            node.id,
            set_name=self._session.scene.set,
            ref=node.ref,
            action=f"{type(node.action).__name__} {subject(node.action)}",
            actor=self._session.actor,
            command=self._session.command,
        )

    def done(self, node: Node) -> None:
        self._session.store.journal.done(self._session.op_id, node.id)

    def failed(self, node: Node, error: str) -> None:
        self._session.store.journal.failed(self._session.op_id, node.id, error)


def close_interrupted(session: Session) -> None:
    """Effects whose end nobody wrote down: the plan was made from a look at the world taken after them, so it repeats
    what did not happen and leaves what did. Nobody is asked to mend state by hand (R11 c)."""
    for entry in session.store.journal.unfinished(session.scene.set):
        session.store.journal.failed(entry.op_id, entry.seq, "interrupted; its outcome was read from the world")


def record(session: Session, seen: Look, plan: Plan) -> frozenset[Ref]:
    """Write the wishes down; the objects whose wish is new, or was not known to this store."""
    store, set_name = session.store, session.scene.set
    for change in plan.changes:
        if change.verb is Verb.FORGET and change.reasons[0].after:
            new = Ref.parse(change.reasons[0].after)
            if change.ref in seen.recorded and new not in seen.recorded:
                store.objects.rename(set_name, change.ref, new)
        elif change.verb in REMOVING:
            store.objects.request_deletion(set_name, change.ref)
    planned = {change.ref for change in plan.changes if change.verb not in REMOVING}
    wishes = [
        Declaration(ref, resource.normalised, resource.metadata.labels, resource.metadata.annotations)
        for ref, resource in sorted(seen.desired.items())
        if ref in planned and ref.kind in KINDS
    ]
    declared = store.objects.declare(
        set_name, *wishes, cause=session.command, actor=session.actor, commit="", op_id=session.op_id
    )
    known = {ref: entry.generation for ref, entry in seen.recorded.items()}
    return frozenset(item.ref for item in declared if known.get(item.ref) != item.generation)


def forget(session: Session, objects: tuple[ObjectResult, ...]) -> None:
    """Strike what is gone. What could not be removed keeps its membership and is tried again (R17)."""
    for item in objects:
        if item.ending in (Ending.DELETED, Ending.PRUNED):
            session.store.objects.forget(session.scene.set, item.ref)


def held(session: Session) -> Mapping[Ref, StoredObject]:
    """What the store holds of this set by now."""
    return {item.ref: item for item in session.store.objects.all(session.scene.set)}


def write_status(session: Session, assessed: Mapping[Ref, Assessment], stored: Mapping[Ref, StoredObject]) -> None:
    """Conditions, lifecycle and columns, of the objects where one of them differs."""
    now, differing = session.clock.now(), []
    for ref, assessment in assessed.items():
        item = stored.get(ref)
        if item is None:
            continue
        lifecycle = _lifecycle(item.lifecycle, assessment.lifecycle)
        merged = merge(item.conditions, assessment.conditions, now, item.generation)
        same = (item.conditions, item.observed_generation, item.lifecycle, dict(item.columns))
        if same != (merged, item.generation, lifecycle, dict(assessment.columns)):
            differing.append(Assessed(ref, assessment.conditions, item.generation, lifecycle, dict(assessment.columns)))
    if differing:
        session.store.objects.write_statuses(session.scene.set, differing)


def learn(session: Session, after: Look) -> None:
    """Keep what ready engines told of their memory, and say how far off the estimate was."""
    for lesson in lessons(session.world, after):
        session.store.reports.put(lesson.placed.key, lesson.report.to_json())
        if lesson.report.buffers or lesson.report.vllm is not None:
            event = _event(session, lesson.ref, "MemoryReported", lesson.message, generation=lesson.generation)
            session.store.events.emit(event)


def _lifecycle(before: str, observed: str) -> str:
    """The state to store: reached by legal steps from the one before; nothing goes back to UNKNOWN."""
    if not observed or (observed == "UNKNOWN" and before not in ("", "UNKNOWN")):
        return before
    walk(parse(before), observed)
    return observed


def tell(
    session: Session,
    objects: Sequence[ObjectResult],
    outcomes: Mapping[int, Outcome],
    stored: Mapping[Ref, StoredObject],
) -> None:
    """One event for every object that did not stay as it was, and for every drain whose deadline cut requests."""
    generations = {ref: item.generation for ref, item in stored.items()}
    events = [
        _event(
            session,
            item.ref,
            item.ending.value.capitalize(),
            session.world.redact(item.detail) or f"{item.ending} by {session.command}",
            generation=generations.get(item.ref, 0),
            warns=item.ending in BAD,
        )
        for item in objects
        if item.ending is not Ending.UNCHANGED
    ]
    for outcome in outcomes.values():
        if outcome.note:
            ref = outcome.node.ref
            generation = generations.get(ref, 0)
            events.append(_event(session, ref, "DrainDeadline", outcome.note, generation=generation, warns=True))
    session.store.events.emit_all(events)


def _event(session: Session, ref: Ref, reason: str, message: str, *, generation: int, warns: bool = False) -> Event:
    return Event(
        type="Warning" if warns else "Normal",
        reason=reason,
        message=message,
        set=session.scene.set,
        ref=ref,
        generation=generation,
        op_id=session.op_id,
        actor=session.actor,
    )


def mark(
    session: Session,
    objects: Sequence[ObjectResult],
    stored: Mapping[Ref, StoredObject],
    fresh: frozenset[Ref],
    assessed: Mapping[Ref, Assessment],
) -> None:
    """Note how the roll-out of each revision ended; one that is Ready may be trusted by a rollback (R16)."""
    for item in objects:
        touched = item.ending is not Ending.UNCHANGED or item.ref in fresh
        if item.ref not in stored or not touched or item.ending is Ending.BLOCKED:
            continue
        if item.ending is Ending.REVERTED:
            continue
        good = item.ending not in BAD
        conditions = assessed[item.ref].conditions
        ready = good and is_ready(conditions)
        if not ready and item.ending is Ending.UNCHANGED and any(one.type == SUSPENDED for one in conditions):
            continue  # its roll-out waits until it is resumed
        session.store.history.mark_result(
            session.scene.set,
            item.ref,
            stored[item.ref].generation,
            "Succeeded" if good else "Failed",
            ready=ready,
            stable=ready and not healing.steady_seconds(item.ref, stored[item.ref].spec),
            why="" if good else session.world.redact(item.detail.partition("\n")[0]),
        )

"""The cycle: record the wish, carry the plan out, look again, write down what is true.

`plan`, `apply`, `delete`, `rollback` and the loop all go through here; there is no second path to the world.
Status is assessed from a fresh look after acting, never from what the plan hoped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from controllers import healing, reverting
from controllers.base import Assessment, Scene
from controllers.learning import lessons
from controllers.reconciler import Look, Options, assess, look, reconcile
from controllers.stages import Stages
from nexus_ctl.clock import Clock
from nexus_ctl.errors import NexusError
from nexus_ctl.execution.report import Outcome, Report, Status
from nexus_ctl.execution.walk import Walk, Workers
from nexus_ctl.execution.world import World
from nexus_ctl.planning.action import subject
from nexus_ctl.planning.change import REMOVING, Change, Verb, on_the_way
from nexus_ctl.planning.plan import Node, Plan
from nexus_ctl.resources.conditions import READY, merge
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.kinds import KINDS
from nexus_ctl.resources.lifecycle import parse, walk
from nexus_ctl.resources.normal import normalise
from nexus_ctl.resources.observed import Recorded
from nexus_ctl.store.records import Assessed, Declaration, Event, StoredObject
from nexus_ctl.store.store import Store


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


@dataclass(frozen=True, slots=True)
class Session:
    """One command's way to the world and the store."""

    world: World
    store: Store
    scene: Scene
    workers: Workers
    clock: Clock
    op_id: str
    actor: str
    command: str


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """One object's end: the word, and what went wrong."""

    ref: Ref
    ending: Ending
    detail: str = ""
    error: NexusError | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What an apply came to."""

    plan: Plan
    outcomes: Mapping[int, Outcome]
    objects: tuple[ObjectResult, ...]
    assessed: Mapping[Ref, Assessment]


def see(session: Session, stack: Stack, options: Options) -> Look:
    """One look at the world and the store."""
    store, set_name = session.store, session.scene.set
    scene = replace(
        session.scene,
        now=session.clock.now(),
        backoffs=store.backoffs.all(set_name),
        reports=store.reports.all(),
        reverted=store.history.reverted(set_name),
    )
    return look(session.world, stack, scene, recorded(store, set_name), options)


def recorded(store: Store, set_name: str) -> Mapping[Ref, Recorded]:
    """What the store remembers of a set."""
    return {item.ref: _recorded(item) for item in store.objects.all(set_name)}


def _recorded(item: StoredObject) -> Recorded:
    return Recorded(
        item.ref,
        item.spec,
        item.generation,
        ",".join(sorted(item.protected)),
        item.suspended.reason or "suspended" if item.suspended is not None else "",
        item.former_names,
    )


def plan_for(session: Session, stack: Stack, options: Options) -> tuple[Look, Plan]:
    """Look, then decide."""
    seen = see(session, stack, options)
    seen = replace(seen, scene=replace(seen.scene, timings=session.store.journal.timings(session.scene.set)))
    return seen, reconcile(stack, seen, options)


def carry_out(
    session: Session,
    stack: Stack,
    seen: Look,
    plan: Plan,
    *,
    report: Report,
    cancelled: Callable[[], bool] = lambda: False,
) -> Result:
    """Make the plan true as far as it goes, and write down what then is. The caller holds the state lock."""
    _close_interrupted(session)
    healing.remember(session.store, session.world, seen)
    healing.trust(session.store, seen)
    fresh = _record(session, seen, plan)
    session.store.wishes.put(session.scene.set, normalise(stack.settings))
    outcomes, objects = _walk(session, plan, report, cancelled)
    if not cancelled():
        objects = _go_back(session, stack, plan, outcomes, objects, report=report, cancelled=cancelled)
    _forget(session, objects)
    after = see(session, stack, Options())
    assessed = assess(after)
    healing.remember(session.store, session.world, after)
    _write_status(session, after, assessed)
    _learn(session, after)
    stored = {item.ref: item for item in session.store.objects.all(session.scene.set)}
    _tell(session, objects, stored)
    _mark(session, objects, stored, fresh, assessed)
    return Result(plan, outcomes, objects, assessed)


def settle(session: Session, seen: Look) -> None:
    """Write down what a look found where nothing is to be done; nothing is written where nothing differs."""
    healing.remember(session.store, session.world, seen)
    healing.trust(session.store, seen)
    _write_status(session, seen, assess(seen))


def _walk(
    session: Session, plan: Plan, report: Report, cancelled: Callable[[], bool]
) -> tuple[Mapping[int, Outcome], tuple[ObjectResult, ...]]:
    stages = Stages(session.store, plan, report)
    outcomes = Walk(plan, session.world, _Journal(session), session.workers, report=stages, cancelled=cancelled).run()
    nodes: dict[Ref, list[Node]] = {}
    for node in plan.nodes:
        nodes.setdefault(node.ref, []).append(node)
    return outcomes, tuple(_result(change, plan, nodes.get(change.ref, []), outcomes) for change in plan.changes)


def _go_back(
    session: Session,
    stack: Stack,
    plan: Plan,
    outcomes: Mapping[int, Outcome],
    objects: tuple[ObjectResult, ...],
    *,
    report: Report,
    cancelled: Callable[[], bool],
) -> tuple[ObjectResult, ...]:
    """Wish what was stable before of every object whose new revision failed for good, and make that true (R16).

    The plan's own way back has mostly done so already; what is left are replicas that were exchanged before one failed.
    """
    back: dict[Ref, healing.Return] = {}
    for ref, error in reverting.failures(plan, outcomes).items():
        why = session.world.redact(f"{error.code}: {error.detail.partition(chr(10))[0]}")
        found = healing.revert(
            session.store, session.scene.set, ref, why, actor=session.actor, op_id=session.op_id, declared=stack
        )
        back |= {ref: found} if found is not None else {}
    if not back:
        return objects
    earlier = replace(stack, resources={**stack.resources, **{ref: one.resource for ref, one in back.items()}})
    again = replace(session, op_id=f"{session.op_id}-back")
    _walk(again, plan_for(again, earlier, Options(only=frozenset(back)))[1], report, cancelled)
    return tuple(
        replace(one, ending=Ending.REVERTED, detail=str(back[one.ref])) if one.ref in back else one for one in objects
    )


class _Journal:
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


def _close_interrupted(session: Session) -> None:
    """Effects whose end nobody wrote down: the plan was made from a look at the world taken after them, so it repeats
    what did not happen and leaves what did. Nobody is asked to mend state by hand (R11 c)."""
    for entry in session.store.journal.unfinished(session.scene.set):
        session.store.journal.failed(entry.op_id, entry.seq, "interrupted; its outcome was read from the world")


def _record(session: Session, seen: Look, plan: Plan) -> frozenset[Ref]:
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


def _result(change: Change, plan: Plan, nodes: Sequence[Node], outcomes: Mapping[int, Outcome]) -> ObjectResult:
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


def _forget(session: Session, objects: tuple[ObjectResult, ...]) -> None:
    """Strike what is gone. What could not be removed keeps its membership and is tried again (R17)."""
    for item in objects:
        if item.ending in (Ending.DELETED, Ending.PRUNED):
            session.store.objects.forget(session.scene.set, item.ref)


def _write_status(session: Session, after: Look, assessed: Mapping[Ref, Assessment]) -> None:
    stored = {item.ref: item for item in session.store.objects.all(session.scene.set)}
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


def _learn(session: Session, after: Look) -> None:
    """Keep what ready engines told of their memory, and say how far off the estimate was."""
    for lesson in lessons(session.world, after):
        session.store.reports.put(lesson.placed.key, lesson.report.to_json())
        if lesson.report.buffers:
            session.store.events.emit(
                Event(
                    type="Normal",
                    reason="MemoryReported",
                    message=lesson.message,
                    set=session.scene.set,
                    ref=lesson.ref,
                    generation=lesson.generation,
                    op_id=session.op_id,
                    actor=session.actor,
                )
            )


def _lifecycle(before: str, observed: str) -> str:
    """The state to store: reached by legal steps from the one before; nothing goes back to UNKNOWN."""
    if not observed or (observed == "UNKNOWN" and before not in ("", "UNKNOWN")):
        return before
    walk(parse(before), observed)
    return observed


BAD = frozenset({Ending.FAILED, Ending.REVERTED, Ending.SKIPPED, Ending.BLOCKED})


def _tell(session: Session, objects: Sequence[ObjectResult], stored: Mapping[Ref, StoredObject]) -> None:
    """One event for every object that did not stay as it was."""
    session.store.events.emit_all(
        [
            Event(
                type="Warning" if item.ending in BAD else "Normal",
                reason=item.ending.value.capitalize(),
                message=session.world.redact(item.detail) or f"{item.ending} by {session.command}",
                set=session.scene.set,
                ref=item.ref,
                generation=stored[item.ref].generation if item.ref in stored else 0,
                op_id=session.op_id,
                actor=session.actor,
            )
            for item in objects
            if item.ending is not Ending.UNCHANGED
        ]
    )


def _mark(
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
        ready = good and any(c.type == READY and c.status == "True" for c in assessed[item.ref].conditions)
        session.store.history.mark_result(
            session.scene.set,
            item.ref,
            stored[item.ref].generation,
            "Succeeded" if good else "Failed",
            ready=ready,
            stable=ready and not healing.steady_seconds(item.ref, stored[item.ref].spec),
            why="" if good else session.world.redact(item.detail.partition("\n")[0]),
        )

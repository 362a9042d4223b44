"""The cycle: record the wish, carry the plan out, look again, write down what is true.

`plan`, `apply`, `delete`, `rollback` and the loop all go through here; there is no second path to the world.
Status is assessed from a fresh look after acting, never from what the plan hoped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from controllers import books, healing, reverting
from controllers.base import Assessment
from controllers.endings import Ending, ObjectResult, ending_of
from controllers.looking import Look, Options, look
from controllers.reconciler import assess, reconcile
from controllers.session import Session
from controllers.stages import Stages
from nexus_ctl.errors import NexusError
from nexus_ctl.execution.report import Outcome, Report
from nexus_ctl.execution.walk import Walk
from nexus_ctl.planning.plan import Node, Plan
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.normal import normalise


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
    return look(session.world, stack, scene, books.recorded(store, set_name), options)


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
    books.close_interrupted(session)
    healing.remember(session.store, session.world, seen)
    healing.trust(session.store, seen)
    fresh = books.record(session, seen, plan)
    session.store.wishes.put(session.scene.set, normalise(stack.settings))
    outcomes, objects = _walk(session, plan, report, cancelled)
    if not cancelled():
        failed = reverting.failures(plan, outcomes, seen.observed)
        objects = _go_back(session, stack, failed, objects, report=report, cancelled=cancelled)
    books.forget(session, objects)
    after = see(session, stack, Options(as_applied=True))
    assessed = assess(after)
    healing.remember(session.store, session.world, after)
    stored = books.held(session)
    books.write_status(session, assessed, stored)
    books.learn(session, after)
    books.tell(session, objects, outcomes, stored)
    books.mark(session, objects, stored, fresh, assessed)
    return Result(plan, outcomes, objects, assessed)


def settle(session: Session, seen: Look) -> None:
    """Write down what a look found where nothing is to be done; nothing is written where nothing differs."""
    healing.remember(session.store, session.world, seen)
    healing.trust(session.store, seen)
    books.write_status(session, assess(seen), books.held(session))


def _walk(
    session: Session, plan: Plan, report: Report, cancelled: Callable[[], bool]
) -> tuple[Mapping[int, Outcome], tuple[ObjectResult, ...]]:
    stages = Stages(session.store, plan, report)
    outcomes = Walk(
        plan, session.world, books.Journal(session), session.workers, report=stages, cancelled=cancelled
    ).run()
    nodes: dict[Ref, list[Node]] = {}
    for node in plan.nodes:
        nodes.setdefault(node.ref, []).append(node)
    return outcomes, tuple(ending_of(change, plan, nodes.get(change.ref, []), outcomes) for change in plan.changes)


def _go_back(
    session: Session,
    stack: Stack,
    failed: Mapping[Ref, NexusError],
    objects: tuple[ObjectResult, ...],
    *,
    report: Report,
    cancelled: Callable[[], bool],
) -> tuple[ObjectResult, ...]:
    """Wish what was stable before of every object whose new revision failed for good, and make that true (R16).

    The plan's own way back has mostly done so already; what is left are replicas that were exchanged before one failed.
    """
    back: dict[Ref, healing.Return] = {}
    for ref, error in failed.items():
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

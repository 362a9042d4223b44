"""What healing writes down: replicas that ended, revisions that proved stable, wishes that were gone back from.

Called by the cycle, under the state lock. The rule: what is written follows from a look alone, so a killed command
loses nothing that the next look does not find again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from controllers import reverting
from controllers.looking import Look
from nexus_ctl.errors import ActionError
from nexus_ctl.execution.world import World
from nexus_ctl.resources.backoff import Backoff
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.normal import Normal
from nexus_ctl.resources.replica import Health
from nexus_ctl.store.history import REVERTED
from nexus_ctl.store.records import Declaration
from nexus_ctl.store.store import Store

LOG_LINES = 5
"""Of each replica that ended, this many last lines are kept."""


def remember(store: Store, world: World, seen: Look) -> None:
    """Store the back-off of every object where a look found another; replicas of another make are forgotten."""
    before = store.backoffs.all(seen.scene.set)
    there = {view.replica.name for value in seen.observed.values() for view in getattr(value, "replicas", ())}
    after: dict[Ref, dict[str, Backoff]] = {}
    for name, one in seen.scene.backoffs.items():
        if name in there:
            after.setdefault(one.ref, {})[name] = one
    for ref in {one.ref for one in before.values()} | after.keys():
        stored = {name: one for name, one in before.items() if one.ref == ref}
        if stored != after.get(ref, {}):
            rows = [_with_lines(one, stored.get(one.replica), world) for one in after.get(ref, {}).values()]
            store.backoffs.put(seen.scene.set, ref, rows)


def _with_lines(one: Backoff, stored: Backoff | None, world: World) -> Backoff:
    if stored is not None and stored.run == one.run:
        return one
    try:
        lines = tuple(world.redact(line) for line in world.runtime_of(one.ref).logs(one.replica, tail=LOG_LINES))
    except ActionError:  # it is gone meanwhile, and its words with it
        return one
    return replace(one, lines=lines)


def trust(store: Store, seen: Look) -> None:
    """Call those revisions stable that ended Ready and are so still, after `rollout.minHealthy`."""
    for revision in store.history.maturing(seen.scene.set):
        ref, known = revision.ref, seen.recorded.get(revision.ref)
        views = getattr(seen.observed.get(ref), "replicas", ())
        steady = timedelta(seconds=steady_seconds(ref, revision.spec))
        assert revision.ready_since is not None
        if (
            known is not None
            and known.generation == revision.generation
            and views
            and all(view.health is Health.READY for view in views)
            and seen.scene.now - revision.ready_since >= steady
        ):
            store.history.mark_stable(seen.scene.set, ref, revision.generation)


def steady_seconds(ref: Ref, spec: Normal) -> float:
    """How long a revision must stay ready to be trusted; what has no replicas is trusted at once."""
    return _parsed(spec).rollout.min_healthy if ref.kind == reverting.KIND else 0.0


def _parsed(spec: Mapping[str, Any]) -> DeploymentSpec:
    return DeploymentSpec.model_validate(dict(spec), by_alias=True, by_name=False)


@dataclass(frozen=True, slots=True)
class Return:
    """What an object was gone back from and to."""

    resource: Resource[Any]
    failed: int
    number: int
    why: str

    def __str__(self) -> str:
        return f"revision {self.failed} did not become ready: {self.why}; back to revision {self.number}"


def revert(
    store: Store, set_name: str, ref: Ref, why: str, *, actor: str, op_id: str, declared: Stack
) -> Return | None:
    """Put the stable revision in the failed one's place, in the store; None where there is nothing to go back to."""
    revisions = store.history.revisions(set_name, ref)
    back, present = reverting.target(revisions), declared.resources.get(ref)
    if back is None or present is None:
        return None
    failed = revisions[-1]
    store.history.mark_result(set_name, ref, failed.generation, REVERTED, why=why)
    resource = reverting.respecified(present, back.spec)
    wish = Declaration(ref, resource.normalised, resource.metadata.labels, resource.metadata.annotations)
    cause = f"went back: revision {failed.number} did not become ready"
    [stored] = store.objects.declare(set_name, wish, cause=cause, actor=actor, op_id=op_id)
    store.history.mark_result(set_name, ref, stored.generation, "Succeeded", ready=True, stable=True)
    number = store.history.revisions(set_name, ref)[-1].number
    return Return(resource, failed.number, number, why)

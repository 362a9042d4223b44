"""Going back from a roll-out that failed (R16): what is gone back to, when a wish is held, and the words for it. Pure.

The rule: once per failed revision, only to a revision that was stable, and never from one that has been ready. A
manifest that declares a failed revision again is held: its object is planned as the revision that serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from controllers.base import Scene
from nexus_ctl.errors import DeadlineExceeded, NexusError, Refused, Terminal
from nexus_ctl.execution.report import Outcome
from nexus_ctl.planning.action import Action, AwaitReady, CreateReplica, StartReplica
from nexus_ctl.planning.plan import Plan
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.normal import Normal, digest
from nexus_ctl.store.records import Revision

KIND = "Deployment"
FOR_GOOD: Mapping[type[Action], tuple[type[NexusError], ...]] = {
    CreateReplica: (Terminal,),
    StartReplica: (Refused, Terminal),
    AwaitReady: (Terminal, DeadlineExceeded),
}
"""The failures that speak against a revision; a killed engine or a runtime that is away do not."""


def failures(plan: Plan, outcomes: Mapping[int, Outcome], observed: Mapping[Ref, Any]) -> Mapping[Ref, NexusError]:
    """Deployments whose new replica cannot become ready, and why. One that was there before, in the routing table, and
    that the plan only waited for says nothing about the new revision."""
    found: dict[Ref, NexusError] = {}
    started = {node.action.name for node in plan.nodes if isinstance(node.action, StartReplica)}
    for node in plan.nodes:
        error = outcomes[node.id].error
        if node.ref.kind == KIND and error is not None and isinstance(error, FOR_GOOD.get(type(node.action), ())):
            served = observed[node.ref].endpoints.keys() - started
            if not isinstance(node.action, AwaitReady) or node.action.name not in served:
                found.setdefault(node.ref, error)
    return found


def target(revisions: Sequence[Revision]) -> Revision | None:
    """What to go back to from the newest revision; None where it has been ready, or nothing stable is known."""
    if not revisions or revisions[-1].ready_since is not None:
        return None
    return next((one for one in reversed(revisions[:-1]) if one.stable), None)


def respecified(resource: Resource[Any], spec: Normal) -> Resource[Any]:
    """The same object with another spec."""
    return replace(resource, spec=type(resource.spec).model_validate(dict(spec), by_alias=True, by_name=False))


def held(desired: Mapping[Ref, Resource[Any]], scene: Scene, retry: frozenset[Ref]) -> Mapping[Ref, Revision]:
    """Objects whose declared spec failed before, and the failed revision. `retry` may try once more."""
    found = {}
    for ref in scene.reverted.keys() & desired.keys() & scene.recorded.keys() - retry:
        failed = scene.reverted[ref].get(digest(desired[ref].normalised))
        if failed is not None and scene.recorded[ref].spec != failed.spec:
            found[ref] = failed
    return found


def went_back(ref: Ref, scene: Scene) -> str:
    """What happened to a held object, and the way out."""
    failed = scene.held[ref]
    return (
        f"revision {failed.number} did not become ready: {failed.why}; the one before it serves. "
        f"Change the spec, or try the same once more: nexusctl reconcile {ref.kind.lower()}/{ref.name}"
    )

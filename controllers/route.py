"""Routes: rows of the routing table. Every change is live; readiness counts the replicas behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controllers.base import Assessment, Controller, Scene, Sighting
from controllers.entry import plan_entry
from nexus_ctl.execution.world import World
from nexus_ctl.planning.action import DeleteRoute, PutRoute
from nexus_ctl.planning.change import Change, Step
from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.normal import Normal, canonical_json
from nexus_ctl.resources.observed import ObservedRoute
from nexus_ctl.resources.route import RouteSpec
from nexus_ctl.resources.routing import BackendEntry, RouteEntry, Table

KIND = "Route"


def present(sighting: Sighting, set_name: str) -> frozenset[Ref]:
    """Routes that the routing table holds."""
    return frozenset(Ref(KIND, name) for name in sighting.table.routes)


def observe(
    world: World, sighting: Sighting, scene: Scene, desired: Mapping[Ref, Resource[Any]], refs: frozenset[Ref]
) -> Mapping[Ref, ObservedRoute]:
    """Each route's row and the endpoints behind it; nothing is read beyond the sighting."""
    return {ref: _observed(sighting.table, sighting.table.routes.get(ref.name), scene) for ref in refs}


def _observed(table: Table, row: RouteEntry | None, scene: Scene) -> ObservedRoute:
    backends = [backend for backend in row.backends if backend.weight] if row else []
    names = [name for backend in backends for name in table.endpoints.get(backend.deployment, {})]
    return ObservedRoute(row, len(names), len(scene.answering.intersection(names)))


def applied(observed: ObservedRoute) -> Normal | None:
    """What was last made true, as the world says."""
    return json.loads(observed.entry.spec) if observed.entry else None


def plan(ref: Ref, desired: Resource[RouteSpec] | None, observed: ObservedRoute, scene: Scene) -> Change:
    """Put what is missing or differs, remove what is no longer declared."""
    return plan_entry(
        ref,
        desired,
        observed.entry,
        scene,
        put=lambda resource: PutRoute(ref.name, entry(resource)),
        remove=DeleteRoute(ref.name),
    )


def entry(resource: Resource[RouteSpec]) -> RouteEntry:
    """The row a route makes: the public name first, then the aliases."""
    spec = resource.spec
    return RouteEntry(
        names=[spec.model_name or resource.metadata.name, *sorted(spec.aliases)],
        backends=[BackendEntry(b.deployment, b.weight) for b in sorted(spec.backends, key=lambda b: b.deployment)],
        preset=spec.preset or "",
        spec=canonical_json(resource.normalised),
        protected=resource.metadata.protect_words,
    )


def forget(ref: Ref, observed: ObservedRoute) -> tuple[Step, ...]:
    """The row under the former name."""
    return (Step(DeleteRoute(ref.name)),) if observed.entry is not None else ()


def assess(ref: Ref, desired: Resource[RouteSpec] | None, observed: ObservedRoute, scene: Scene) -> Assessment:
    """Ready when the table holds what is declared and at least one ready replica can answer."""
    columns = {"ENDPOINTS": str(observed.answering)}
    if observed.entry is None:
        ready = Condition("Ready", "False", "NotInTable", "the gateway's table has no such route yet")
    elif desired is not None and json.loads(observed.entry.spec) != desired.normalised:
        ready = Condition("Ready", "False", "OutOfDate", "the gateway's table holds an older form")
    elif not observed.answering:
        ready = Condition("Ready", "False", "NoEndpoint", "no replica behind this route is ready")
    else:
        of = f" of {observed.endpoints}" if observed.answering < observed.endpoints else ""
        ready = Condition("Ready", "True", "Served", f"{observed.answering}{of} ready replica(s) answer")
    return Assessment((ready,), columns=columns)


CONTROLLER = Controller(KIND, present, observe, applied, plan, forget, assess)

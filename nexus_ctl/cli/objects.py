"""Objects as they are now: what the store remembers, assessed by a fresh look. What `get` and its like show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from controllers.cycle import see
from controllers.looking import Look, Options
from controllers.reconciler import assess
from nexus_ctl.cli.invocation import Workspace
from nexus_ctl.errors import UsageError
from nexus_ctl.resources.conditions import merge
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Metadata, Ref, Resource
from nexus_ctl.resources.kinds import KINDS
from nexus_ctl.resources.observed import ReplicaView
from nexus_ctl.views.objects import ObjectView

ORDER = ("Gateway", "Route", "Preset", "Deployment", "Model")
"""From what clients see to what it rests on; the order of `get all`."""

Selector = Callable[[Mapping[str, str]], bool]


def look(workspace: Workspace, *, as_applied: bool = False) -> Look:
    """One look at everything, writing nothing: against the manifests, or against what was applied of them."""
    return see(workspace.session, workspace.stack, Options(as_applied=as_applied))


def declared_otherwise(stack: Stack, seen: Look) -> tuple[Ref, ...]:
    """The objects whose declared spec is not the one that was applied, and that none of both was gone back from."""
    known = stack.resources.keys() & seen.recorded.keys() - seen.scene.held.keys()
    return tuple(ref for ref in sorted(known) if stack.resources[ref].normalised != seen.recorded[ref].spec)


def replicas_of(seen: Look, ref: Ref) -> tuple[ReplicaView, ...]:
    """The replicas of an object; none for a kind that has none."""
    return getattr(seen.observed.get(ref), "replicas", ())


def objects(workspace: Workspace, seen: Look | None = None) -> list[ObjectView]:
    """Every object that was applied or exists, sorted by kind as in `ORDER`, then by name; by a fresh look.

    What is declared may be ahead of what was applied; what is said of an object, generation, spec and conditions,
    speaks of what was applied.
    """
    seen = seen or look(workspace, as_applied=True)
    assessed = assess(seen)
    stored = {item.ref: item for item in workspace.store.objects.all(workspace.stack.name)}
    now = workspace.clock.now()
    found = []
    routes = _routes(seen)
    for ref in stored.keys() | seen.applied.keys():
        item, assessment, spec = stored.get(ref), assessed.get(ref), seen.applied.get(ref, {})
        generation = item.generation if item else 0
        fresh = assessment.conditions if assessment else ()
        conditions = merge(item.conditions if item else (), fresh, now, generation)
        columns = dict(assessment.columns) if assessment else {}
        columns |= _extra(ref, seen, routes)
        found.append(
            ObjectView(
                ref=ref,
                spec=spec,
                conditions=conditions,
                columns=columns,
                lifecycle=assessment.lifecycle if assessment else "",
                generation=generation,
                observed_generation=item.observed_generation if item else 0,
                resource_version=item.resource_version if item else 0,
                labels=item.labels if item else {},
                annotations=item.annotations if item else {},
                spec_hash=_spec_hash(ref, spec),
                suspended=(item.suspended.reason or "suspended") if item and item.suspended else "",
                suspended_until=item.suspended.until if item and item.suspended else None,
                deleting=item is not None and item.deletion_requested_at is not None,
                created_at=item.created_at if item else None,
            )
        )
    rank = {kind: place for place, kind in enumerate(ORDER)}
    return sorted(found, key=lambda one: (rank.get(one.ref.kind, len(rank)), one.ref))


def _routes(seen: Look) -> Mapping[Ref, list[str]]:
    """Deployment or Preset → the routes that use it."""
    users: dict[Ref, list[str]] = {}
    for ref, spec in sorted(seen.applied.items()):
        if ref.kind == "Route":
            targets = [Ref("Deployment", backend["deployment"]) for backend in spec.get("backends", ())]
            targets += [Ref("Preset", spec["preset"])] if spec.get("preset") else []
            for target in targets:
                users.setdefault(target, []).append(ref.name)
    return users


def _extra(ref: Ref, seen: Look, routes: Mapping[Ref, list[str]]) -> dict[str, str]:
    if ref.kind in ("Deployment", "Preset"):
        return {"ROUTE": ",".join(routes.get(ref, ()))}
    if ref.kind == "Route":
        spec = seen.applied.get(ref, {})
        return {"NAMES": ",".join([spec.get("modelName") or ref.name, *spec.get("aliases", ())])}
    return {}


def _spec_hash(ref: Ref, spec: Mapping[str, Any]) -> str:
    if ref.kind not in KINDS:
        return ""
    value = KINDS[ref.kind].spec.model_validate(dict(spec), by_alias=True, by_name=False)
    return Resource(ref.kind, Metadata(ref.name), value).spec_hash


def selector(text: str | None) -> Selector:
    """From `-l a=b,c!=d,e,!f`. Raises UsageError."""
    tests: list[Selector] = [_test(part.strip()) for part in (text or "").split(",") if part.strip()]
    return lambda labels: all(test(labels) for test in tests)


def _test(part: str) -> Selector:
    if "!=" in part:
        key, value = (word.strip() for word in part.split("!=", 1))
        return lambda labels: labels.get(key) != value
    if "=" in part:
        key, value = (word.strip() for word in part.replace("==", "=").split("=", 1))
        return lambda labels: labels.get(key) == value
    if part.startswith("!"):
        return lambda labels: part[1:].strip() not in labels
    if " " in part:
        raise UsageError(f"{part!r} selects nothing", hint="write key=value, key!=value, key or !key, with commas")
    return lambda labels: part in labels

"""The reconciler: decide purely what makes the desired true, and assess purely what is.

`reconcile` does no I/O, so the same look gives the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controllers.base import Assessment, suspended
from controllers.gateway import KIND as GATEWAY
from controllers.looking import Look, Options
from controllers.renaming import former_names
from controllers.reverting import went_back
from controllers.table import CONTROLLERS
from nexus_ctl.errors import Blocked
from nexus_ctl.planning.change import REMOVING, Change, Reason, Verb
from nexus_ctl.planning.disk import admitted
from nexus_ctl.planning.machine import device_changes
from nexus_ctl.planning.plan import Plan, assemble, blocked
from nexus_ctl.resources.conditions import SUSPENDED, Condition
from nexus_ctl.resources.declared import Stack, dependencies, references
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.kinds import KINDS

PRUNE_SHARE = 0.3
PRUNE_FLOOR = 3
"""Without `--max-prune`, at most this share of the set's objects, and at least this many, may go at once (R17)."""
STAYING = frozenset({"protected", "suspended", "in_use", "image_kept", "failed_before"})
"""Reasons of blocked objects that exist and stay; they hold nobody up."""
MAKING = frozenset({Verb.CREATE, Verb.RESTART, Verb.REPLACE_START_FIRST, Verb.REPLACE_STOP_FIRST})
"""Verbs by which replicas are made, which takes everything they are made of."""


def reconcile(stack: Stack, seen: Look, options: Options, runtime: str = "") -> Plan:
    """The plan that makes the desired true. Pure. Raises Blocked when pruning goes beyond its cap."""
    undeclared = _undeclared(seen)
    renamed = _renamed(seen)
    remove = set(options.delete & seen.applied.keys())
    keeps_routes = any(r.kind == "Route" for r in seen.applied.keys() - options.delete) and not options.prune
    remove |= {r for r in undeclared if r.kind == GATEWAY and not keeps_routes}
    if options.prune:
        remove |= undeclared - renamed.keys()
        _hold_cap(stack, remove - options.delete, seen, options)
    changes: list[Change] = []
    for ref in sorted(seen.desired.keys() | remove):
        if options.only is not None and ref not in options.only:
            continue
        wanted = seen.desired.get(ref) if ref not in remove else None
        change = CONTROLLERS[ref.kind].plan(ref, wanted, seen.observed[ref], seen.scene)
        if options.keeping:
            change = _unless_undeclared(change)
        change = _with_held(change, seen)
        changes.append(change if wanted is None else _unless_suspended(change, wanted, seen))
    if options.only is None:
        changes += [gone for old, new in renamed.items() if (gone := _forget(old, new, seen)) is not None]
    changes = admitted(_refuse_in_use(changes, seen), seen.scene.room)
    edges = _edges(seen, changes)
    waves = {ref: resource.metadata.wave for ref, resource in seen.desired.items()}
    ordered, nodes = assemble(_hold_dependents(changes, edges), edges, waves)
    return Plan(
        set=seen.scene.set,
        instance=seen.scene.instance,
        changes=ordered,
        nodes=nodes,
        inputs=stack.inputs,
        orphans=tuple(sorted(undeclared - remove - renamed.keys())) if options.only is None else (),
        runtime=runtime or seen.scene.capabilities.driver,
        devices=device_changes(ordered, seen.scene.machine),
    )


def assess(seen: Look) -> Mapping[Ref, Assessment]:
    """What is true of every object that is declared or exists."""
    return {
        ref: _with_suspension(ref, CONTROLLERS[ref.kind].assess(ref, seen.desired.get(ref), value, seen.scene), seen)
        for ref, value in sorted(seen.observed.items())
    }


def _with_suspension(ref: Ref, found: Assessment, seen: Look) -> Assessment:
    why = suspended(ref, seen.desired.get(ref), seen.scene)
    if not why:
        return found
    recorded = seen.recorded.get(ref)
    reason = "Requested" if recorded is not None and recorded.suspended else "Declared"
    return replace(found, conditions=(*found.conditions, Condition(SUSPENDED, "True", reason, why)))


def _undeclared(seen: Look) -> set[Ref]:
    return {ref for ref in seen.observed if ref not in seen.desired and ref in seen.applied}


def _renamed(seen: Look) -> dict[Ref, Ref]:
    """Former ref → the declared ref that took its place (R19), for every former name that something still bears."""
    return {
        Ref(ref.kind, old): ref
        for ref, resource in seen.desired.items()
        for old in former_names(resource, seen.recorded)
        if Ref(ref.kind, old) in seen.applied and Ref(ref.kind, old) not in seen.desired
    }


def _forget(old: Ref, new: Ref, seen: Look) -> Change | None:
    steps = CONTROLLERS[old.kind].forget(old, seen.observed[old])
    if old not in seen.recorded and not steps:
        return None
    return Change(old, Verb.FORGET, (Reason("renamed", before=str(old), after=str(new)),), steps)


def _unless_suspended(change: Change, desired: Resource[Any], seen: Look) -> Change:
    """A suspended object is observed and left as it is (R26), and the plan says what waits until it is resumed. Its
    removal is refused where removals are planned."""
    why = suspended(change.ref, desired, seen.scene)
    if not why:
        return change
    waits = [f"{change.codes[0]} waits"] if change.verb is not Verb.NO_OP else []
    return Change(change.ref, Verb.NO_OP, notes=("; ".join([f"suspended: {why}", *waits]),), drift=change.drift)


def _with_held(change: Change, seen: Look) -> Change:
    """What an object that was gone back says in the plan; it is still healed as what serves."""
    if change.ref not in seen.scene.held or change.verb in REMOVING:
        return change
    reason = Reason("failed_before", detail=went_back(change.ref, seen.scene))
    if change.verb is Verb.NO_OP:
        return blocked(change.ref, reason)
    return replace(change, reasons=(reason, *change.reasons))


def _unless_undeclared(change: Change) -> Change:
    """A healthy replica is not replaced because of what changed around it, such as a moved tag (R21): only told."""
    declared = any(reason.on_change == "replace" and reason.code == "field_changed" for reason in change.reasons)
    if change.verb not in (Verb.REPLACE_START_FIRST, Verb.REPLACE_STOP_FIRST) or declared:
        return change
    return Change(change.ref, Verb.NO_OP, drift=tuple(f"{code}: left for the next apply" for code in change.codes))


def _hold_cap(stack: Stack, going: set[Ref], seen: Look, options: Options) -> None:
    if not stack.resources and going:
        raise Blocked("the manifests declare nothing at all; pruning everything is refused", hint="nexusctl delete")
    objects = {ref for ref in seen.applied if ref.kind in KINDS}
    limit = options.max_prune
    if limit is None:
        limit = max(PRUNE_FLOOR, int(len(objects) * PRUNE_SHARE))
    count = len(going & objects)
    if count > limit:
        raise Blocked(
            f"pruning would remove {count} of {len(objects)} objects, more than {limit}: {_names(going & objects)}",
            hint=f"nexusctl apply --prune --max-prune {count}",
        )


def _refuse_in_use(changes: list[Change], seen: Look) -> list[Change]:
    """Objects that something staying still refers to are not removed."""
    going = {change.ref for change in changes if change.verb in REMOVING}
    users: dict[Ref, set[Ref]] = {}
    for ref, resource in seen.desired.items():
        for _, target in references(resource.spec):
            users.setdefault(target, set()).add(ref)
    for ref in seen.applied.keys() - going - seen.desired.keys():
        for target in _applied_references(ref, seen):
            users.setdefault(target, set()).add(ref)
    return [
        blocked(change.ref, Reason("in_use", source="dependency", detail=_used_by(users[change.ref])))
        if change.verb in (Verb.DELETE, Verb.PRUNE) and users.get(change.ref, set()) - going
        else change
        for change in changes
    ]


def _hold_dependents(changes: list[Change], edges: Mapping[Ref, frozenset[Ref]]) -> list[Change]:
    """What depends on a blocked object that does not exist yet cannot be made either, nor be exchanged for it."""
    held = {change.ref: change for change in changes}
    stuck = {change.ref for change in changes if change.verb is Verb.BLOCKED and change.codes[0] not in STAYING}
    while stuck:
        waiting = {ref: edges[ref] & stuck for ref in held if held[ref].verb in MAKING and edges[ref] & stuck}
        stuck = {ref for ref in waiting if held[ref].verb is Verb.CREATE}  # what exists holds nobody up
        for ref, missing in waiting.items():
            held[ref] = blocked(ref, Reason("dependency_blocked", source="dependency", detail=_names(missing)))
    return list(held.values())


def _used_by(users: set[Ref]) -> str:
    return f"used by {_names(users)}; remove {'that' if len(users) == 1 else 'those'} first, or in the same command"


def _names(refs: set[Ref] | frozenset[Ref]) -> str:
    return ", ".join(map(str, sorted(refs)))


def _edges(seen: Look, changes: list[Change]) -> Mapping[Ref, frozenset[Ref]]:
    """What must be Ready before what: by the declared spec, and for removals by the applied one."""
    edges: dict[Ref, frozenset[Ref]] = {}
    for change in changes:
        resource = seen.desired.get(change.ref)
        if resource is not None and change.verb not in REMOVING:
            image = seen.images.get(change.ref)
            edges[change.ref] = dependencies(resource) | ({image} if image is not None else set())
        else:
            edges[change.ref] = _applied_references(change.ref, seen)
    for ref, berth in seen.scene.berths.items():
        if ref in edges and berth.evicted:
            for favoured in set(berth.evicted.values()) & edges.keys():
                edges[favoured] |= {ref}  # its place is free only when they are gone
    leaving = next((c.ref for c in changes if c.ref.kind == GATEWAY and c.verb in REMOVING), None)
    if leaving is not None:
        # What answers last leaves last: the gateway goes after the routes have left its table.
        edges |= {ref: edges[ref] | {leaving} for ref in edges if ref.kind == "Route"}
    return edges


def _applied_references(ref: Ref, seen: Look) -> frozenset[Ref]:
    if ref not in seen.applied or ref.kind not in KINDS:
        return frozenset()
    spec = KINDS[ref.kind].spec.model_validate(dict(seen.applied[ref]), by_alias=True, by_name=False)
    return frozenset(target for _, target in references(spec))

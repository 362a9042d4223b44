"""Planning for kinds that are rows of the routing table: one comparison, one action."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from controllers.base import Scene
from controllers.removal import removal
from nexus_ctl.planning.action import Action
from nexus_ctl.planning.change import Change, Reason, Step, Verb
from nexus_ctl.planning.diff import compare
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.routing import PresetEntry, RouteEntry


def plan_entry(
    ref: Ref,
    desired: Resource[Any] | None,
    row: PresetEntry | RouteEntry | None,
    scene: Scene,
    *,
    put: Callable[[Resource[Any]], Action],
    remove: Action,
) -> Change:
    """The change of one row: put it when missing or different, remove it when undeclared."""
    if desired is None:
        return removal(ref, scene, row.protected if row else "", (Step(remove),) if row else ())
    if row is None:
        return Change(ref, Verb.CREATE, (Reason("not_found"),), (Step(put(desired)),))
    fields = compare(type(desired.spec), json.loads(row.spec), desired.normalised)
    reasons = tuple(map(Reason.of, fields))
    after = desired.metadata.protect_words
    if row.protected != after:
        reasons += (Reason("field_changed", "metadata.annotations.nexusctl/protect", row.protected, after, "live"),)
    if not reasons:
        return Change(ref, Verb.NO_OP)
    return Change(ref, Verb.UPDATE, reasons, (Step(put(desired)),))

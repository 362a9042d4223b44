"""Removal, the same for every kind: protection first (R18), then the verb a missing declaration means."""

from __future__ import annotations

from controllers.base import Scene, suspended
from nexus_ctl.planning.change import Change, Reason, Step, Verb
from nexus_ctl.planning.plan import blocked
from nexus_ctl.resources.envelope import PROTECT, Ref


def removal(
    ref: Ref,
    scene: Scene,
    protected: str,
    steps: tuple[Step, ...],
    *,
    notes: tuple[str, ...] = (),
    destroys_data: bool = False,
) -> Change:
    """The change that takes an object away, or BLOCKED when it is protected or suspended.

    `protected` is what the world says; the store's word wins where there is one, for clearing the annotation cannot
    change a label on a living container.
    """
    recorded = scene.recorded.get(ref)
    word = recorded.protect if recorded is not None else protected
    if "delete" in word.split(","):
        detail = f"apply it with the annotation {PROTECT} cleared, then remove it"
        return blocked(ref, Reason("protected", source="request", detail=detail))
    if why := suspended(ref, None, scene):
        said = recorded is not None and recorded.suspended
        way_out = f"nexusctl resume {ref.kind.lower()}/{ref.name}" if said else "apply it without that, then remove it"
        return blocked(ref, Reason("suspended", source="request", detail=f"{why}; {way_out}"))
    if scene.removal == "delete":
        return Change(ref, Verb.DELETE, (Reason("delete_requested", source="request"),), steps, notes,
                      destroys_data=destroys_data)  # fmt: skip
    return Change(ref, Verb.PRUNE, (Reason("removed_from_set"),), steps, notes, destroys_data=destroys_data)

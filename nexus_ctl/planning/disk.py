"""The model cache's disk in a plan: what it is after each download, and the refusal of what does not fit. Pure.

Called by the reconciler over all changes, so that two downloads which fit alone and not together are told before
anything is stopped. The rule: in the order of the plan; who does not fit is blocked and takes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nexus_ctl.planning.change import Change, Reason
from nexus_ctl.planning.plan import blocked
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.artifact import Room


def admitted(changes: Iterable[Change], room: Room | None) -> list[Change]:
    """The changes, each that takes disk with a note of what is free before and after; or blocked with the figures."""
    if room is None:
        return list(changes)
    free, found = room.free_bytes, []
    for change in changes:
        if not change.disk_bytes:
            found.append(change)
        elif change.disk_bytes + room.reserve_bytes > free:
            detail = _too_large(change.disk_bytes, free, room)
            found.append(blocked(change.ref, Reason("insufficient_disk", detail=detail)))
        else:
            note = f"disk free {human_bytes(free)} -> {human_bytes(free - change.disk_bytes)}"
            free -= change.disk_bytes
            found.append(replace(change, notes=(*change.notes, note)))
    return found


def _too_large(needed: int, free: int, room: Room) -> str:
    kept = f"{human_bytes(room.reserve_bytes)} are kept for everything else (modelCache.reserve)"
    frees = f"nexusctl models gc would free {human_bytes(room.reclaimable_bytes)}"
    return f"needs {human_bytes(needed)}; {room.place} has {human_bytes(free)} free, of which {kept}; {frees}"

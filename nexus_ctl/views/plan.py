"""A Plan → text for people, or JSON for programs (R5).

Called by `plan`, `apply`, `delete` and whoever else shows what is about to happen. The rule: nothing is computed here
that the plan does not say, so the print and the deed cannot differ. Colour is the caller's `style`, by role.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nexus_ctl.planning.action import CreateReplica, subject
from nexus_ctl.planning.change import SYMBOLS, Change, PlannedBuild, Reason, Verb
from nexus_ctl.planning.machine import holding_words
from nexus_ctl.planning.plan import FORMAT_VERSION, Node, Plan
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.device import Holding
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.placed import Placed
from nexus_ctl.views.diagnostics import Style, plain

ROLES: Mapping[Verb, str] = {
    Verb.CREATE: "create",
    Verb.UPDATE: "update",
    Verb.REPLACE_START_FIRST: "replace",
    Verb.REPLACE_STOP_FIRST: "replace",
    Verb.RESTART: "replace",
    Verb.ADOPT: "update",
    Verb.FORGET: "remove",
    Verb.DELETE: "remove",
    Verb.PRUNE: "remove",
    Verb.BLOCKED: "blocked",
}
WORDS: Mapping[Verb, str] = {
    Verb.CREATE: "to create",
    Verb.UPDATE: "to update",
    Verb.REPLACE_START_FIRST: "to replace (start-first)",
    Verb.REPLACE_STOP_FIRST: "to replace (stop-first)",
    Verb.RESTART: "to restart",
    Verb.ADOPT: "to adopt",
    Verb.FORGET: "to forget",
    Verb.DELETE: "to delete",
    Verb.PRUNE: "to prune",
    Verb.BLOCKED: "blocked",
    Verb.NO_OP: "unchanged",
}
"""The words of the summary line, in its order."""
EFFECTS: Mapping[str, str] = {"replace": "forces replace", "live": "live", "none": "changes nothing that runs"}
INDENT = " " * 8


def text(plan: Plan, *, store_revision: int | None = None, style: Style = plain) -> str:
    """The plan for people: header, drift, actions, what is left alone, summary. Ends with a newline."""
    blocks = [[_header(plan, store_revision)], _drift(plan, style), _actions(plan, style), _devices(plan)]
    blocks += [_kept(plan), _left(plan)]
    return "\n\n".join("\n".join(block) for block in [*blocks, [style("summary", summary(plan))]] if block) + "\n"


def summary(plan: Plan) -> str:
    """`Plan: 1 to create, 1 to update, 7 unchanged; 0 restarts.`"""
    counts = plan.summary()
    parts = [f"{counts[verb]} {words}" for verb, words in WORDS.items() if counts.get(verb)]
    restarts = sum(change.restarts for change in plan.changes)
    totals = [f"{restarts} restart{'' if restarts == 1 else 's'}"]
    download = sum(change.download_bytes for change in plan.changes)
    if download:
        totals.append(f"{human_bytes(download)} to download")
    return f"Plan: {', '.join(parts) or 'nothing to do'}; {', '.join(totals)}."


def _header(plan: Plan, store_revision: int | None) -> str:
    facts = {
        "Set": plan.set,
        "environment": plan.environment,
        "instance": plan.instance,
        "runtime": plan.runtime,
        "store revision": "" if store_revision is None else str(store_revision),
    }
    return "  ".join(f"{word} {value}" for word, value in facts.items() if value)


def _drift(plan: Plan, style: Style) -> list[str]:
    lines = [f"  {style('drift', '!')}   {change.ref}  {line}" for change in plan.changes for line in change.drift]
    return ["Changed outside nexusctl:", *lines] if lines else []


def _actions(plan: Plan, style: Style) -> list[str]:
    moving = [change for change in plan.changes if change.verb is not Verb.NO_OP]
    width = max((len(str(change.ref)) for change in moving), default=0)
    lines = [line for change in moving for line in _change(change, width, style)]
    return ["Actions:", *lines] if lines else []


def _change(change: Change, width: int, style: Style) -> Iterator[str]:
    symbol = style(ROLES[change.verb], f"{SYMBOLS[change.verb]:<3}")
    aside = {Verb.PRUNE: "  (prune)", Verb.DELETE: "  (delete)", Verb.RESTART: "  (restart)"}.get(change.verb, "")
    yield f"  {symbol} {change.ref!s:<{width}}  {', '.join(change.codes)}{aside}".rstrip()
    for reason in change.reasons:
        yield from (INDENT + line for line in _reason(reason))
    for note in change.notes:
        yield INDENT + note
    if change.gap:
        yield f"{INDENT}{style('drift', 'no service')} {change.gap}"
    if change.destroys_data:
        yield INDENT + style("remove", "destroys data")


def _reason(reason: Reason) -> Iterator[str]:
    if reason.before is not None or reason.after is not None:
        effect = EFFECTS.get(reason.on_change, "")
        if reason.code != "field_changed":
            effect = ", ".join(filter(None, (effect, reason.code)))
        where = reason.path or reason.code
        line = f"{where}: {value(reason.before)} -> {value(reason.after)}"
        yield f"{line}  # {effect}" if effect else line
    if reason.detail:
        first, *more = reason.detail.split("\n")
        yield f"{reason.path}: {first}" if reason.path and reason.after is None else first
        yield from (f"  {line.strip()}" for line in more)


def value(of: Any) -> str:
    """A field's value in a plan: JSON, `unset` for None, a secret's mark as it is."""
    return "unset" if of is None else json.dumps(of, ensure_ascii=False)


def _devices(plan: Plan) -> list[str]:
    """The GPUs that the plan fills or empties, all actions together, with who else holds some of them; and those on
    which memory is held that the engine forgot."""
    lines = []
    for one in plan.devices:
        holders = [f"    {holding_words(holder)}" for holder in one.holders if holder.forgotten or one.moved]
        used = f"{human_bytes(one.before_bytes)} used"
        after = f"{used} -> {human_bytes(one.after_bytes)}" if one.moved else f"{used}, unchanged"
        if one.moved or holders:
            lines += [f"  {one.name}  {human_bytes(one.total_bytes)} {one.model}: {after}", *holders]
    return ["Devices:", *lines] if lines else []


def _kept(plan: Plan) -> list[str]:
    """What is left alone though something moves, and what is left alone on purpose."""
    moved = any(change.verb is not Verb.NO_OP for change in plan.changes)
    lines = [f"  {change.ref}  {', '.join(change.untouched)}" for change in plan.changes if change.untouched and moved]
    lines += [f"  {one.ref}  {note}" for one in plan.changes if one.verb is Verb.NO_OP for note in one.notes]
    return ["Left alone:", *lines] if lines else []


def _left(plan: Plan) -> list[str]:
    if not plan.orphans:
        return []
    return ["No longer declared, kept without --prune:", *(f"  {ref}" for ref in plan.orphans)]


def to_json(plan: Plan, *, store_revision: int | None = None) -> dict[str, Any]:
    """The plan for programs. Keys are stable; ignore ones you do not know, reject another major `formatVersion`."""
    moving = [change for change in plan.changes if change.verb not in (Verb.NO_OP, Verb.BLOCKED)]
    ids = {change.ref: number for number, change in enumerate(moving)}
    nodes: dict[Ref, list[Node]] = {change.ref: [] for change in plan.changes}
    for node in plan.nodes:
        nodes[node.ref].append(node)
    return {
        "formatVersion": FORMAT_VERSION,
        "set": plan.set,
        "environment": plan.environment,
        "instance": plan.instance,
        "runtime": plan.runtime,
        "inputs": [{"path": one.path, "sha256": one.sha256} for one in plan.inputs],
        "storeRevision": store_revision,
        "actions": [_json(plan, change, nodes[change.ref], ids) for change in moving],
        "drift": [{"ref": str(change.ref), "detail": line} for change in plan.changes for line in change.drift],
        "blocked": [
            {"ref": str(change.ref), "reasons": [_reason_json(reason) for reason in change.reasons]}
            for change in plan.blocked
        ],
        "devices": [
            {
                "id": one.id,
                "name": one.name,
                "model": one.model,
                "totalBytes": one.total_bytes,
                "usedBeforeBytes": one.before_bytes,
                "usedAfterBytes": one.after_bytes,
                "heldByOthers": [_holder_json(holder) for holder in one.holders],
            }
            for one in plan.devices
        ],
        "orphans": [str(ref) for ref in plan.orphans],
        "summary": {
            **{verb.value: plan.summary().get(verb, 0) for verb in Verb},
            "restarts": sum(change.restarts for change in plan.changes),
            "downloadBytes": sum(change.download_bytes for change in plan.changes),
        },
    }


def _holder_json(one: Holding) -> dict[str, Any]:
    whose = "forgotten" if one.forgotten else "foreign"
    told = {"pid": one.pid, "program": one.program, "usedBytes": one.used_bytes}
    return told | {"containerId": one.container_id or None, "whose": whose}


def _json(plan: Plan, change: Change, nodes: Sequence[Node], ids: Mapping[Ref, int]) -> dict[str, Any]:
    before = {plan.nodes[need].ref for node in nodes for need in node.needs} - {change.ref}
    return {
        "id": ids[change.ref],
        "ref": str(change.ref),
        "action": change.verb.value,
        "reasons": [_reason_json(reason) for reason in change.reasons],
        "dependsOn": sorted(ids[ref] for ref in before),
        "notes": list(change.notes),
        "restarts": change.restarts,
        "downloadBytes": change.download_bytes,
        "diskBytes": change.disk_bytes,
        "temporaryBytes": change.temporary_bytes,
        "builds": [_build_json(one) for one in change.builds],
        "gap": str(change.gap or ""),
        "gapSeconds": {"usual": change.gap.usual_seconds, "atMost": change.gap.most_seconds} if change.gap else None,
        "memory": change.memory.to_json() if change.memory is not None else None,
        "placements": list(_placements(change)),
        "destroysData": change.destroys_data,
        "untouched": list(change.untouched),
        "steps": [
            {
                "id": node.id,
                "action": type(node.action).__name__,
                "subject": subject(node.action),
                "needs": list(node.needs),
                "rescues": node.rescues,
            }
            for node in nodes
        ],
    }


def _build_json(one: PlannedBuild) -> dict[str, Any]:
    forecast = one.forecast
    return {
        "step": one.step,
        "tool": forecast.tool,
        "resultBytes": forecast.size_bytes,
        "bitsPerWeight": forecast.bits_per_weight,
        "tensors": forecast.tensors,
        "fallbacks": [{"from": way.wanted, "to": way.type, "tensors": way.tensors} for way in forecast.fallbacks],
        "quantizedBefore": list(forecast.quantized_before),
    }


def _placements(change: Change) -> Iterator[dict[str, Any]]:
    """Where each replica that is made comes to lie, as its label will say."""
    for step in change.steps:
        if isinstance(step.action, CreateReplica):
            placed = Placed.from_label(step.action.replica.owner.placement)
            if placed is not None:
                yield {
                    "replica": step.action.replica.name,
                    "option": placed.option,
                    "devices": list(placed.devices),
                    "claimBytes": dict(placed.claims),
                }


def _reason_json(reason: Reason) -> dict[str, Any]:
    return {
        "code": reason.code,
        "path": reason.path,
        "before": reason.before,
        "after": reason.after,
        "onChange": reason.on_change,
        "source": reason.source,
        "detail": reason.detail,
    }

"""Presets: rows of the routing table. Every change is live."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controllers.base import Assessment, Controller, Scene, Sighting
from controllers.entry import plan_entry
from nexus_ctl.execution.world import World
from nexus_ctl.planning.action import DeletePreset, PutPreset
from nexus_ctl.planning.change import Change, Step
from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.normal import Normal, canonical_json
from nexus_ctl.resources.observed import ObservedPreset
from nexus_ctl.resources.preset import PresetSpec
from nexus_ctl.resources.routing import PresetEntry

KIND = "Preset"

OPENAI_NAMES = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "minP": "min_p",
    "maxTokens": "max_tokens",
    "seed": "seed",
    "stop": "stop",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "repeatPenalty": "repeat_penalty",
    "responseFormat": "response_format",
    "systemPrompt": "system_prompt",
}
"""Our field → the request field it becomes."""


def present(sighting: Sighting, set_name: str) -> frozenset[Ref]:
    """Presets that the routing table holds."""
    return frozenset(Ref(KIND, name) for name in sighting.table.presets)


def observe(
    world: World, sighting: Sighting, scene: Scene, desired: Mapping[Ref, Resource[Any]], refs: frozenset[Ref]
) -> Mapping[Ref, ObservedPreset]:
    """Each preset's row; nothing is read beyond the sighting."""
    return {ref: ObservedPreset(sighting.table.presets.get(ref.name)) for ref in refs}


def applied(observed: ObservedPreset) -> Normal | None:
    """What was last made true, as the world says."""
    return json.loads(observed.entry.spec) if observed.entry else None


def plan(ref: Ref, desired: Resource[PresetSpec] | None, observed: ObservedPreset, scene: Scene) -> Change:
    """Put what is missing or differs, remove what is no longer declared."""
    return plan_entry(
        ref,
        desired,
        observed.entry,
        scene,
        put=lambda resource: PutPreset(ref.name, entry(resource)),
        remove=DeletePreset(ref.name),
    )


def entry(resource: Resource[PresetSpec]) -> PresetEntry:
    """The row a preset makes."""
    sampling = resource.spec.sampling.model_dump(by_alias=True, exclude_none=True)
    params: dict[str, object] = {OPENAI_NAMES[key]: value for key, value in sampling.items()}
    if resource.spec.response_format is not None:
        params["response_format"] = resource.spec.response_format
    return PresetEntry(
        params=params,
        system_prompt=resource.spec.system_prompt,
        locked=sorted(OPENAI_NAMES[name] for name in resource.spec.locked),
        spec=canonical_json(resource.normalised),
        protected=resource.metadata.protect_words,
    )


def forget(ref: Ref, observed: ObservedPreset) -> tuple[Step, ...]:
    """The row under the former name."""
    return (Step(DeletePreset(ref.name)),) if observed.entry is not None else ()


def assess(ref: Ref, desired: Resource[PresetSpec] | None, observed: ObservedPreset, scene: Scene) -> Assessment:
    """Ready when the table holds what is declared."""
    if observed.entry is None:
        ready = Condition("Ready", "False", "NotInTable", "the gateway's table has no such preset yet")
    elif desired is not None and json.loads(observed.entry.spec) != desired.normalised:
        ready = Condition("Ready", "False", "OutOfDate", "the gateway's table holds an older form")
    else:
        ready = Condition("Ready", "True", "InTable", "the gateway applies it")
    return Assessment((ready,))


CONTROLLER = Controller(KIND, present, observe, applied, plan, forget, assess)

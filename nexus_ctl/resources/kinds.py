"""The table of kinds: one row each. A new kind is a row here, one in `controllers/table.py`, and four files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.field import Spec
from nexus_ctl.resources.model import ModelSpec
from nexus_ctl.resources.preset import PresetSpec
from nexus_ctl.resources.route import RouteSpec
from nexus_ctl.resources.stack import StackSpec


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: its spec class and the words people type for it."""

    name: str
    spec: type[Spec]
    plural: str
    short: str
    doc: str


KINDS: Mapping[str, Kind] = {
    row.name: row
    for row in (
        Kind("Stack", StackSpec, "stacks", "stack", "The workspace itself, in nexus.yaml."),
        Kind("Model", ModelSpec, "models", "mo", "A model file: where it comes from and how its bytes are pinned."),
        Kind("Deployment", DeploymentSpec, "deployments", "deploy", "A model served by an engine."),
        Kind("Preset", PresetSpec, "presets", "pre", "How a model is asked: sampling, prompt, output constraints."),
        Kind("Route", RouteSpec, "routes", "ro", "A public model name and the deployments that answer for it."),
    )
}


def kind_named(word: str) -> Kind | None:
    """The kind a person means by `Deployment`, `deployment`, `deployments` or `deploy`; None when there is none."""
    low = word.lower()
    return next((row for row in KINDS.values() if low in (row.name.lower(), row.plural, row.short)), None)

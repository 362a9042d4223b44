"""Objects with their state → the rows of `get`, and JSON or YAML in the envelope.

Columns are per kind, in a table; names of columns and JSON keys are frozen by golden tests. The status word is
computed from conditions alone (`resources.conditions.summary`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nexus_ctl.clock import stamp
from nexus_ctl.resources.conditions import EFFECTIVE, READY, STALLED, Condition, Summary, summary
from nexus_ctl.resources.envelope import API_VERSION, Ref
from nexus_ctl.resources.normal import Normal
from nexus_ctl.views.applied import spoken
from nexus_ctl.views.table import age, table


@dataclass(frozen=True, slots=True)
class ObjectView:
    """One object: what the store remembers of it, with conditions from a fresh look.

    `generation` 0 and `created_at` None: the store does not know it (its database was lost; the world has it still).
    """

    ref: Ref
    spec: Normal
    conditions: tuple[Condition, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    lifecycle: str = ""
    generation: int = 0
    observed_generation: int = 0
    resource_version: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    spec_hash: str = ""
    suspended: str = ""
    """Why a command suspended it; "" where none did."""
    suspended_until: datetime | None = None
    deleting: bool = False
    created_at: datetime | None = None

    @property
    def ready(self) -> Condition | None:
        """The summary condition."""
        return next((one for one in self.conditions if one.type == READY), None)

    @property
    def stalled(self) -> Condition | None:
        """Why trying again by itself is useless; None where it is not."""
        return next((one for one in self.conditions if one.type == STALLED and one.status == "True"), None)

    @property
    def loaded_otherwise(self) -> Condition | None:
        """What an engine did not load as declared; None where nothing is known of it."""
        return next((one for one in self.conditions if one.type == EFFECTIVE and one.status == "False"), None)

    @property
    def status(self) -> Summary:
        """The word of the table."""
        if self.suspended:
            return Summary("Suspended", "" if self.suspended == "suspended" else self.suspended)
        return summary(self.conditions, self.generation, deleting=self.deleting)


Column = tuple[str, Callable[["ObjectView", datetime], str]]


def _of(header: str) -> Column:
    return header, lambda one, now: one.columns.get(header, "")


NAME: Column = ("NAME", lambda one, now: one.ref.name)
QUALIFIED: Column = ("NAME", lambda one, now: spoken(one.ref))
HEAD: tuple[Column, ...] = (
    ("READY", lambda one, now: one.ready.status if one.ready else "Unknown"),
    ("STATUS", lambda one, now: str(one.status)),
)
AGE: Column = ("AGE", lambda one, now: age(one.created_at, now))
WIDE: tuple[Column, ...] = (
    ("GENERATION", lambda one, now: str(one.generation)),
    ("OBSERVED", lambda one, now: str(one.observed_generation)),
    ("SPEC-HASH", lambda one, now: one.spec_hash),
    ("LIFECYCLE", lambda one, now: one.lifecycle),
    ("REASON", lambda one, now: one.ready.message.partition("\n")[0] if one.ready else ""),
)
LABELS: Column = ("LABELS", lambda one, now: ",".join(f"{key}={value}" for key, value in sorted(one.labels.items())))
OWN: Mapping[str, tuple[Column, ...]] = {
    "Model": (_of("SIZE"), _of("DIGEST")),
    "Deployment": (_of("REPLICAS"), _of("MODEL"), _of("GPU"), _of("ROUTE")),
    "Preset": (_of("ROUTE"),),
    "Route": (_of("NAMES"), _of("ENDPOINTS")),
    "Gateway": (_of("ADDRESS"),),
}
"""The columns between STATUS and AGE, by kind."""


def tables(
    objects: Sequence[ObjectView],
    now: datetime,
    *,
    wide: bool = False,
    show_labels: bool = False,
    show_headers: bool = True,
    qualified: bool = False,
) -> str:
    """One table per kind, in the order kinds first appear, a blank line between two. `qualified`: `kind/name`."""
    kinds = dict.fromkeys(one.ref.kind for one in objects)
    parts = []
    for kind in kinds:
        columns = [QUALIFIED if qualified else NAME, *HEAD, *OWN.get(kind, ()), AGE]
        columns += [*(WIDE if wide else ()), *((LABELS,) if show_labels else ())]
        rows = [[cell(one, now) for _, cell in columns] for one in objects if one.ref.kind == kind]
        parts.append(table([header for header, _ in columns], rows, show_headers=show_headers))
    return "\n".join(parts)


def to_json(one: ObjectView) -> dict[str, Any]:
    """The object in its envelope; what was declared under `spec`, what is true under `status`."""
    metadata: dict[str, Any] = {"name": one.ref.name}
    if one.labels:
        metadata["labels"] = dict(one.labels)
    if one.annotations:
        metadata["annotations"] = dict(one.annotations)
    metadata |= {
        "generation": one.generation,
        "resourceVersion": one.resource_version,
        "creationTimestamp": stamp(one.created_at) if one.created_at else None,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": one.ref.kind,
        "metadata": metadata,
        "spec": dict(one.spec),
        "status": {
            "summary": str(one.status),
            "lifecycle": one.lifecycle,
            "observedGeneration": one.observed_generation,
            "specHash": one.spec_hash,
            "suspended": one.suspended or None,
            "suspendedUntil": stamp(one.suspended_until) if one.suspended_until else None,
            "columns": dict(one.columns),
            "conditions": [condition.to_json() for condition in one.conditions],
        },
    }


def list_json(objects: Sequence[ObjectView]) -> dict[str, Any]:
    """Several objects as a `List`."""
    return {"apiVersion": API_VERSION, "kind": "List", "items": [to_json(one) for one in objects]}


def names(objects: Sequence[ObjectView]) -> str:
    """One `kind/name` per line."""
    return "".join(f"{spoken(one.ref)}\n" for one in objects)

"""The state of a whole stack in one page: where to ask, what answers, what is wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nexus_ctl.planning.plan import FORMAT_VERSION
from nexus_ctl.resources.backoff import Backoff
from nexus_ctl.resources.observed import ReplicaView
from nexus_ctl.views import objects as objects_view
from nexus_ctl.views import replicas as replicas_view
from nexus_ctl.views.applied import spoken
from nexus_ctl.views.diagnostics import Style, plain
from nexus_ctl.views.objects import ObjectView


@dataclass(frozen=True, slots=True)
class Status:
    """What the page shows. `undeclared` are objects that no manifest declares, `missing` declared ones not there,
    `ahead` ones of which another spec is declared than was applied."""

    set: str
    gateway_url: str
    objects: tuple[ObjectView, ...]
    replicas: tuple[ReplicaView, ...]
    missing: tuple[str, ...] = ()
    undeclared: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()
    backoffs: Mapping[str, Backoff] = field(default_factory=dict)

    @property
    def gateway_ready(self) -> bool:
        """Whether the gateway answers."""
        found = next((one for one in self.objects if one.ref.kind == "Gateway"), None)
        return found is not None and found.ready is not None and found.ready.status == "True"

    @property
    def wrong(self) -> tuple[ObjectView, ...]:
        """Objects that are not as they should be; a suspended one too, where it is not Ready."""
        return tuple(one for one in self.objects if one.status.word != "Current" and not _rests(one))

    @property
    def loaded_otherwise(self) -> tuple[tuple[ObjectView, str], ...]:
        """Objects that serve, but whose engine did not load what is declared, and how it differs."""
        found = ((one, one.loaded_otherwise) for one in self.objects)
        return tuple((one, condition.message) for one, condition in found if condition is not None)


def text(status: Status, now: datetime, style: Style = plain) -> str:
    """For people; ends with what is wrong, or says that nothing is."""
    answers = style("good", "answers") if status.gateway_ready else style("bad", "does not answer")
    parts = [f"Set {status.set}\nGateway {status.gateway_url}/v1 {answers}\n"]
    shown = [one for one in status.objects if one.ref.kind != "Gateway"]
    if shown:
        parts.append(objects_view.tables(shown, now, qualified=True))
    replicas = replicas_view.text(status.replicas, now, status.backoffs)
    if replicas:
        parts.append(replicas)
    lines = [f"{spoken(one.ref)}  {one.status}{_why(one)}" for one in status.wrong]
    lines += [f"{spoken(one.ref)}  {words}" for one, words in status.loaded_otherwise]
    lines += [f"{ref}  declared, not applied: nexusctl apply" for ref in status.missing]
    lines += [f"{ref}  declared otherwise than applied: nexusctl plan" for ref in status.ahead]
    lines += [f"{ref}  no longer declared: nexusctl prune" for ref in status.undeclared]
    parts.append(
        style("bad", "Wrong:") + "\n" + textwrap.indent("\n".join(lines), "  ") + "\n" if lines else "All well.\n"
    )
    return "\n".join(parts)


def _rests(one: ObjectView) -> bool:
    """Whether it is suspended and well."""
    return one.status.word == "Suspended" and one.ready is not None and one.ready.status == "True"


def _why(one: ObjectView) -> str:
    said = one.stalled or one.ready
    return f": {said.message.partition(chr(10))[0]}" if said and said.message else ""


def to_json(status: Status) -> dict[str, Any]:
    """Keys are stable."""
    return {
        "formatVersion": FORMAT_VERSION,
        "set": status.set,
        "gateway": {"url": status.gateway_url, "ready": status.gateway_ready},
        "objects": [objects_view.to_json(one) for one in status.objects],
        "replicas": replicas_view.to_json(status.replicas, status.backoffs),
        "wrong": [str(one.ref) for one in status.wrong],
        "missing": list(status.missing),
        "undeclared": list(status.undeclared),
        "ahead": list(status.ahead),
    }

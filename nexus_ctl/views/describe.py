"""Everything about one object, for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime

from nexus_ctl.clock import stamp
from nexus_ctl.resources.backoff import Backoff
from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.observed import ReplicaView
from nexus_ctl.store.records import RecordedEvent, Revision
from nexus_ctl.views import events as events_view
from nexus_ctl.views import history as history_view
from nexus_ctl.views import replicas as replicas_view
from nexus_ctl.views.applied import spoken
from nexus_ctl.views.objects import ObjectView
from nexus_ctl.views.table import age, table

EVENTS = 10
"""The newest ones that are shown."""
CONDITIONS = ("TYPE", "STATUS", "REASON", "SINCE", "MESSAGE")


def text(
    one: ObjectView,
    replicas: Sequence[ReplicaView],
    revisions: Sequence[Revision],
    events: Sequence[RecordedEvent],
    now: datetime,
    *,
    backoffs: Sequence[Backoff] = (),
) -> str:
    """Facts, spec, conditions, replicas and how they ended, revisions and the newest events, each under its heading."""
    parts = [_facts(one), _block("Spec", _yaml(one)), _block("Conditions", _conditions(one.conditions, now))]
    parts += [_block("Columns", "".join(f"{key}: {value}\n" for key, value in one.columns.items() if value))]
    parts += [_block("Replicas", replicas_view.text(replicas, now, {one.replica: one for one in backoffs}))]
    parts += [_block("Ended", replicas_view.ends(backoffs, now))]
    parts += [_block("Revisions", history_view.text(revisions, now) if revisions else "")]
    parts += [_block("Events", events_view.text(events[-EVENTS:], now) if events else "")]
    return "\n".join(part for part in parts if part)


def _facts(one: ObjectView) -> str:
    return "".join(f"{name + ':':<12} {value}\n" for name, value in _rows(one) if value)


def _rows(one: ObjectView) -> Iterator[tuple[str, str]]:
    yield "Object", spoken(one.ref)
    yield "Status", str(one.status)
    yield "Lifecycle", one.lifecycle
    yield "Generation", f"{one.generation} (observed {one.observed_generation})" if one.generation else ""
    yield "Spec hash", one.spec_hash
    yield "Created", stamp(one.created_at) if one.created_at else ""
    until = f", until {stamp(one.suspended_until)}" if one.suspended_until else ", until resumed"
    yield "Suspended", one.suspended + until if one.suspended else ""
    yield "Labels", ", ".join(f"{key}={value}" for key, value in sorted(one.labels.items()))
    yield "Annotations", ", ".join(f"{key}={value}" for key, value in sorted(one.annotations.items()))


def _yaml(one: ObjectView) -> str:
    import yaml

    text: str = yaml.safe_dump(dict(one.spec), sort_keys=True, allow_unicode=True) if one.spec else ""
    return text


def _conditions(conditions: Sequence[Condition], now: datetime) -> str:
    rows = [
        (c.type, c.status, c.reason, age(c.last_transition_time, now), c.message.partition("\n")[0]) for c in conditions
    ]
    return table(CONDITIONS, rows) if rows else ""


def _block(heading: str, body: str) -> str:
    return f"{heading}:\n{textwrap.indent(body, '  ')}" if body else ""

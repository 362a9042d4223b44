"""Replicas as rows: what a runtime says of each, and what its probe answers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from nexus_ctl.clock import stamp
from nexus_ctl.resources.observed import ReplicaView
from nexus_ctl.views.table import age, table

HEADERS = ("REPLICA", "STATE", "HEALTH", "ADDRESS", "PID", "UP")


def text(views: Iterable[ReplicaView], now: datetime) -> str:
    """The table; "" without any."""
    rows = [
        (
            view.replica.name,
            str(view.replica.exit) if view.replica.exit else view.replica.state.value,
            view.health.value,
            view.replica.address,
            "" if view.replica.pid is None else str(view.replica.pid),
            age(view.replica.started_at, now) if view.replica.address else "",
        )
        for view in views
    ]
    return table(HEADERS, rows) if rows else ""


def to_json(views: Iterable[ReplicaView]) -> list[dict[str, Any]]:
    """Keys are stable."""
    return [
        {
            "name": view.replica.name,
            "state": view.replica.state.value,
            "health": view.health.value,
            "address": view.replica.address or None,
            "pid": view.replica.pid,
            "exit": str(view.replica.exit) if view.replica.exit else None,
            "startedAt": stamp(view.replica.started_at) if view.replica.started_at else None,
        }
        for view in views
    ]

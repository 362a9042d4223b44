"""The routing table: what the gateway serves. A value; the one thing that control plane and data plane share.

Three maps, each changed by an action of its own: `endpoints` (deployment → replica → address, only ready ones; `served`
goes with it), `presets`, `routes`. The table is plain msgspec structs so that the gateway decodes it without pydantic,
in microseconds. Names of JSON keys are a format: add, never rename.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

FORMAT = 1
"""The newest table format that this version reads and writes."""

STATUS_PATH = "/nexus/v1/gateway"
"""Where a running gateway answers with its `GatewayStatus`."""


class PresetEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A preset as the gateway applies it. `params` are request fields in OpenAI's spelling (`max_tokens`).

    `locked` lists the request fields on which the preset wins; `system_prompt` among them if it is locked.
    """

    params: dict[str, object] = {}
    system_prompt: str | None = None
    locked: list[str] = []
    spec: str = "{}"
    """Canonical JSON of the Preset's normal form: what an observer reads back."""
    protected: str = ""


class BackendEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One deployment behind a route."""

    deployment: str
    weight: int = 1


class RouteEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A route under every name it answers to; `names[0]` is the public one."""

    names: list[str]
    backends: list[BackendEntry]
    preset: str = ""
    spec: str = "{}"
    protected: str = ""


class Table(msgspec.Struct, frozen=True, rename="camel"):
    """The whole table. `revision` grows by one with each write."""

    format: int = FORMAT
    revision: int = 0
    set: str = ""
    endpoints: dict[str, dict[str, str]] = {}
    presets: dict[str, PresetEntry] = {}
    routes: dict[str, RouteEntry] = {}
    served: dict[str, dict[str, list[str]]] = {}
    """Deployment → replica → the model names its engine answers to, that of the model it serves first. An engine that
    takes any name is left out."""


class RouteCounters(msgspec.Struct, frozen=True, rename="camel"):
    """What a gateway counted on one route since it started. `requests` maps the HTTP status answered to a count."""

    requests: dict[str, int] = {}
    prompt_tokens: int = 0
    completion_tokens: int = 0


class DeploymentCounters(msgspec.Struct, frozen=True, rename="camel"):
    """What a gateway counted for one deployment since it started: requests handed to it, whatever came of them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    last_used: float = 0.0
    """When the last of them ended, in seconds since 1970."""


class GatewayStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What a running gateway tells of itself. `fingerprint` names the very table it routes by; see `fingerprint`."""

    revision: int
    fingerprint: str
    error: str = ""
    """Why the table file as it lies there now could not be loaded; the one of `revision` stays in force."""
    in_flight: dict[str, int] = {}
    """Replica → requests open on it; a replica without any is left out."""
    routes: dict[str, RouteCounters] = {}
    since: float = 0.0
    """When it started to count, in seconds since 1970; 0 from one that does not tell."""
    deployments: dict[str, DeploymentCounters] = {}


def fingerprint(data: bytes) -> str:
    """A name for the exact bytes of a table file; "" for no bytes. Unlike a revision it survives a lost file."""
    return hashlib.blake2b(data, digest_size=16).hexdigest() if data else ""


def encode(table: Table) -> bytes:
    """The table as JSON, keys in a stable order."""
    return msgspec.json.format(msgspec.json.encode(table, order="deterministic"), indent=1)


def decode(data: bytes) -> Table:
    """The table from JSON. Raises msgspec.ValidationError or DecodeError."""
    return msgspec.json.decode(data, type=Table)


def with_endpoint(table: Table, deployment: str, replica: str, address: str, served: Sequence[str] = ()) -> Table:
    """`table` with a ready replica of a deployment added, or its address and the names it answers to changed."""
    return msgspec.structs.replace(
        table,
        endpoints=_put_inner(table.endpoints, deployment, replica, address),
        served=_put_inner(table.served, deployment, replica, list(served) or None),
    )


def without_endpoint(table: Table, deployment: str, replica: str) -> Table:
    """`table` without a replica; a deployment without replicas leaves too."""
    return msgspec.structs.replace(
        table,
        endpoints=_put_inner(table.endpoints, deployment, replica, None),
        served=_put_inner(table.served, deployment, replica, None),
    )


def with_preset(table: Table, name: str, entry: PresetEntry | None) -> Table:
    """`table` with a preset put, or removed when `entry` is None."""
    return msgspec.structs.replace(table, presets=_put(table.presets, name, entry))


def with_route(table: Table, name: str, entry: RouteEntry | None) -> Table:
    """`table` with a route put, or removed when `entry` is None."""
    return msgspec.structs.replace(table, routes=_put(table.routes, name, entry))


def _put(mapping: Mapping[str, T], name: str, entry: T | None) -> dict[str, T]:
    rest = {key: value for key, value in mapping.items() if key != name}
    return rest if entry is None else rest | {name: entry}


def _put_inner(mapping: Mapping[str, Mapping[str, T]], outer: str, name: str, entry: T | None) -> dict[str, Any]:
    return _put(mapping, outer, _put(mapping.get(outer, {}), name, entry) or None)

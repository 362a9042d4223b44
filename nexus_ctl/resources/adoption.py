"""What a runtime tells of a thing that somebody else started and that may be taken over (R10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nexus_ctl.resources.replica import ObservedReplica


@dataclass(frozen=True, slots=True)
class Candidate:
    """A thing of the runtime as a Deployment would say it.

    `spec` is that Deployment's, in camelCase; `files` the host path behind each of its model references, by path
    (`spec.model`); `left_out` what no manifest says of it. `refused` is why it can never be taken over; then the
    others are empty.
    """

    replica: ObservedReplica
    spec: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    refused: str = ""

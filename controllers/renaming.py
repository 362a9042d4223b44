"""Renaming (R19): a declared object keeps what it made under the names it had before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nexus_ctl.resources.envelope import RENAMED_FROM, Ref, Resource
from nexus_ctl.resources.observed import Recorded


def former_names(desired: Resource[Any], recorded: Mapping[Ref, Recorded]) -> frozenset[str]:
    """The names an object had: by its annotation now, and as the store remembers from annotations since removed."""
    remembered = recorded[desired.ref].former_names if desired.ref in recorded else ()
    annotated = desired.metadata.annotations.get(RENAMED_FROM, "")
    return frozenset(name for name in (annotated, *remembered) if name)

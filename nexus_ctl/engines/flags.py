"""Fields that name a flag (`resources.llama_cpp.Flag`) → the words of a command line. Pure; for every engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nexus_ctl.resources.field import Spec
from nexus_ctl.resources.llama_cpp import Flag


def flags(spec: Spec, path: str) -> Iterator[tuple[str, Flag, Any]]:
    """(field path, flag, value) of every field that names a flag, in declaration order."""
    for name, info in type(spec).model_fields.items():
        value, at = getattr(spec, name), f"{path}.{info.alias or name}"
        flag = next((mark for mark in info.metadata if isinstance(mark, Flag)), None)
        if isinstance(value, Spec):
            yield from flags(value, at)
        elif flag is not None:
            yield at, flag, value


def words(spec: Spec) -> Iterator[str]:
    """The command line of the declared fields."""
    for _, flag, value in flags(spec, ""):
        if isinstance(value, bool):
            word = flag.name if value else flag.off
            yield from [word] if word else []
        elif value is not None:
            yield flag.name
            yield ",".join(map(text, value)) if isinstance(value, list) else text(value)


def text(value: object) -> str:
    """A value as engines read it; whole floats without their point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

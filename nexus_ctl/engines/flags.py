"""Fields that name a flag (`resources.llama_cpp.Flag`) → the words of a command line. Pure; for every engine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from nexus_ctl.resources.field import Spec
from nexus_ctl.resources.llama_cpp import Flag
from nexus_ctl.resources.normal import shapes


def flags(spec: Spec, path: str) -> Iterator[tuple[str, Flag, Any]]:
    """(field path, flag, value) of every field that names a flag, in declaration order."""
    for name, key, flag in _flagged(type(spec)):
        value = getattr(spec, name)
        if isinstance(value, Spec):
            yield from flags(value, f"{path}.{key}")
        elif flag is not None:
            yield f"{path}.{key}", flag, value


@cache
def _flagged(spec: type[Spec]) -> tuple[tuple[str, str, Flag | None], ...]:
    """(attribute, camelCase key, its flag) of the fields that name a flag or hold fields that may."""
    marked = {
        name: next((mark for mark in info.metadata if isinstance(mark, Flag)), None)
        for name, info in spec.model_fields.items()
    }
    return tuple(
        (shape.name, shape.key, marked[shape.name])
        for shape in shapes(spec)
        if shape.nested is not None or marked[shape.name] is not None
    )


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

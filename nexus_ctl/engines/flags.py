"""Fields that name a flag (`resources.flag.Flag`) → the words of a command line. Pure; for every engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from nexus_ctl.resources.field import Spec
from nexus_ctl.resources.flag import Flag
from nexus_ctl.resources.normal import Shape, shapes


def flags(spec: Spec, path: str) -> Iterator[tuple[str, Flag, Any]]:
    """(field path, flag, value) of every field that names a flag, in declaration order."""
    for shape, flag in _flagged(type(spec)):
        value = getattr(spec, shape.name)
        if isinstance(value, Spec):
            yield from flags(value, f"{path}.{shape.key}")
        elif flag is not None:
            yield f"{path}.{shape.key}", flag, value


def declarable(spec: type[Spec], path: str) -> Mapping[str, str]:
    """Each flag and its opposite → the path of the field that renders it, whether or not that field is given."""
    found: dict[str, str] = {}
    for shape, flag in _flagged(spec):
        at = f"{path}.{shape.key}"
        if flag is not None:
            found |= {spelling: at for spelling in (flag.name, flag.off) if spelling}
        elif shape.nested is not None:
            found |= declarable(shape.nested, at)
    return found


@cache
def _flagged(spec: type[Spec]) -> tuple[tuple[Shape, Flag | None], ...]:
    """The fields that name a flag, or hold fields that may."""
    marked = {
        name: next((mark for mark in info.metadata if isinstance(mark, Flag)), None)
        for name, info in spec.model_fields.items()
    }
    return tuple(
        (shape, marked[shape.name])
        for shape in shapes(spec)
        if shape.nested is not None or marked[shape.name] is not None
    )


def words(spec: Spec) -> Iterator[str]:
    """The command line of the declared fields."""
    for _, flag, value in flags(spec, ""):
        if isinstance(value, bool):
            word = flag.name if value else flag.off
            yield from [word] if word else []
        elif value is not None and not flag.variable:
            yield flag.name
            yield _joined(flag, value)


def variables(spec: Spec) -> dict[str, str]:
    """The environment variables of the declared fields that speak by one."""
    found = ((flag, value) for _, flag, value in flags(spec, "") if flag.variable and value is not None)
    return {flag.variable: _joined(flag, value) for flag, value in found}


def _joined(flag: Flag, value: object) -> str:
    return flag.joined.join(map(text, value)) if isinstance(value, list) else text(value)


def text(value: object) -> str:
    """A value as engines read it; whole floats without their point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

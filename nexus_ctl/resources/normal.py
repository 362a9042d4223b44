"""The normal form of a spec, and what is read from it: its leaves, its hashed part, its digest.

Two manifests that mean the same have the same normal form: defaults left out, sets, maps and keyed lists sorted,
quantities canonical. Diff, hash and store all speak of normal forms (plain JSON values), never of models.
"""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, Union, get_args, get_origin

from nexus_ctl.resources.field import ListType, Mark, OnChange, Spec

Normal = Mapping[str, Any]

_UNMARKED = Mark(OnChange.REPLACE, in_hash=True)


def normalise(spec: Spec) -> dict[str, Any]:
    """The normal form: JSON values, camelCase keys, only what differs from the defaults.

    Leaving defaults out, not filling them in, is what lets a new release add a field without a new hash.
    """
    dumped: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return _sorted(type(spec), dumped)


def leaves(spec: type[Spec], normal: Normal) -> dict[str, tuple[Any, Mark]]:
    """Every leaf of a normal form by its path (`spec.env.HF_HOME.value`, `spec.backends.chat.weight`).

    A keyed list contributes its key as a path part; an atomic list or map is one leaf.
    """
    return dict(_leaves(spec, normal, "spec", None))


def hashed(spec: type[Spec], normal: Normal) -> dict[str, Any]:
    """The leaves that belong in the change hash, by path."""
    return {path: value for path, (value, mark) in leaves(spec, normal).items() if mark.in_hash}


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def item_spec(annotation: Any) -> type[Spec] | None:
    """The Spec class inside an annotation (itself, optional, list item or map value), else None."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return annotation
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return item_spec(args[0])
    if origin in (Union, types.UnionType):
        return next((found for found in map(item_spec, args) if found is not None), None)
    if origin in (list, tuple):
        return item_spec(args[0])
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return item_spec(args[1])
    return None


@dataclass(frozen=True, slots=True)
class Shape:
    """One field of a spec class, as normal forms are walked: read from its annotation once."""

    name: str
    key: str
    """Its name outside, in camelCase."""
    mark: Mark | None
    """Its own mark; None where its parent's counts."""
    nested: type[Spec] | None
    """The Spec class inside: itself, optional, or of the items."""
    is_map: bool
    """Whether the value is a mapping by free keys, of `nested` or of plain values."""


@cache
def shapes(spec: type[Spec]) -> tuple[Shape, ...]:
    """The shape of each field, in declaration order."""
    return tuple(
        Shape(
            name,
            info.alias or name,
            next((mark for mark in info.metadata if isinstance(mark, Mark)), None),
            item_spec(info.annotation),
            _maps(info.annotation),
        )
        for name, info in spec.model_fields.items()
    )


def _sorted(spec: type[Spec], dumped: dict[str, Any]) -> dict[str, Any]:
    for shape in shapes(spec):
        value = dumped.get(shape.key)
        if isinstance(value, dict):
            if shape.nested is None:
                dumped[shape.key] = _keys_sorted(value)
            elif shape.is_map:
                dumped[shape.key] = {key: _sorted(shape.nested, inner) for key, inner in sorted(value.items())}
            else:
                _sorted(shape.nested, value)
        elif isinstance(value, list):
            if shape.nested is not None:
                for inner in value:
                    _sorted(shape.nested, inner)
            if shape.mark is not None and shape.mark.list_type is ListType.SET:
                value.sort(key=canonical_json)
            elif shape.mark is not None and shape.mark.merge_key:
                value.sort(key=partial(_key_of, shape.mark.merge_key))
    return dumped


def _keys_sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _keys_sorted(inner) for key, inner in sorted(value.items())}
    return [_keys_sorted(inner) for inner in value] if isinstance(value, list) else value


def _key_of(merge_key: str, item: Normal) -> str:
    return canonical_json(item.get(merge_key))


def _maps(annotation: Any) -> bool:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Annotated, Union, types.UnionType):
        return any(map(_maps, args))
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _leaves(
    spec: type[Spec], normal: Normal, prefix: str, inherited: Mark | None
) -> Iterator[tuple[str, tuple[Any, Mark]]]:
    for shape in shapes(spec):
        if shape.key not in normal:
            continue
        nested, mark = shape.nested, shape.mark or inherited or _UNMARKED
        value, path = normal[shape.key], f"{prefix}.{shape.key}"
        if nested is not None and isinstance(value, dict) and not shape.is_map:
            yield from _leaves(nested, value, path, mark)
        elif isinstance(value, dict) and mark.list_type is ListType.MAP:
            for name in sorted(value):
                if nested is not None and isinstance(value[name], dict):
                    yield from _leaves(nested, value[name], f"{path}.{name}", mark)
                else:
                    yield f"{path}.{name}", (value[name], mark)
        elif nested is not None and isinstance(value, list) and mark.merge_key:
            for item in value:
                yield from _leaves(nested, item, f"{path}.{item.get(mark.merge_key)}", mark)
        else:
            yield path, (value, mark)

"""The normal form of a spec, and what is read from it: its leaves, its hashed part, its digest.

Two manifests that mean the same have the same normal form: defaults left out, sets, maps and keyed lists sorted,
quantities canonical. Diff, hash and store all speak of normal forms (plain JSON values), never of models.
"""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Union, get_args, get_origin

from nexus_ctl.resources.field import ListType, Mark, OnChange, Spec

Normal = Mapping[str, Any]


def normalise(spec: Spec) -> dict[str, Any]:
    """The normal form: JSON values, camelCase keys, only what differs from the defaults.

    Leaving defaults out, not filling them in, is what lets a new release add a field without a new hash.
    """
    dumped: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return _sorted(type(spec), dumped, None)


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


def marks(spec: type[Spec]) -> Iterator[tuple[str, Mark | None, type[Spec] | None]]:
    """(camelCase key, own mark, nested Spec) of each field."""
    for name, info in spec.model_fields.items():
        mark = next((m for m in info.metadata if isinstance(m, Mark)), None)
        yield info.alias or name, mark, item_spec(info.annotation)


def _sorted(spec: type[Spec], dumped: dict[str, Any], inherited: Mark | None) -> dict[str, Any]:
    for key, own, nested in marks(spec):
        mark = own or inherited
        value = dumped.get(key)
        if nested is not None and isinstance(value, dict):
            for inner in [value] if nested.model_fields and _is_object(spec, key) else list(value.values()):
                _sorted(nested, inner, mark)
        if isinstance(value, dict) and not (nested is not None and _is_object(spec, key)):
            dumped[key] = dict(sorted(value.items())) if nested is not None else _keys_sorted(value)
        elif isinstance(value, list):
            if nested is not None:
                for inner in value:
                    _sorted(nested, inner, mark)
            if own is not None and own.list_type is ListType.SET:
                value.sort(key=canonical_json)
            elif own is not None and own.merge_key:
                value.sort(key=partial(_key_of, own.merge_key))
    return dumped


def _keys_sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _keys_sorted(inner) for key, inner in sorted(value.items())}
    return [_keys_sorted(inner) for inner in value] if isinstance(value, list) else value


def _key_of(merge_key: str, item: Normal) -> str:
    return canonical_json(item.get(merge_key))


def _is_object(spec: type[Spec], key: str) -> bool:
    """True where the field holds one nested spec rather than a map of them."""
    info = next(info for name, info in spec.model_fields.items() if (info.alias or name) == key)
    return not _maps(info.annotation)


def _maps(annotation: Any) -> bool:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Annotated, Union, types.UnionType):
        return any(map(_maps, args))
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _leaves(
    spec: type[Spec], normal: Normal, prefix: str, inherited: Mark | None
) -> Iterator[tuple[str, tuple[Any, Mark]]]:
    for key, own, nested in marks(spec):
        if key not in normal:
            continue
        mark = own or inherited or Mark(OnChange.REPLACE, in_hash=True)
        value, path = normal[key], f"{prefix}.{key}"
        if nested is not None and isinstance(value, dict) and _is_object(spec, key):
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

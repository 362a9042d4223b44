"""Environments: partial documents laid over the base, merged as the field table says.

Between `interpolate` and `parse`; nodes in, nodes out, so that every value keeps the place it was written at and a
fault in an overlay points into the overlay. The rule: objects and maps merge key by key, sets are united, lists of
keyed objects merge by their key, every other value takes the place of the whole; `null` removes a key.
"""

from __future__ import annotations

from nexus_ctl.manifest.nodes import Entry, Map, Node, Scalar, Sequence
from nexus_ctl.resources.field import ListType, Mark, Spec
from nexus_ctl.resources.normal import shapes

_ENVELOPE_MAPS = ("labels", "annotations")


def overlay(base: Map, over: Map, spec: type[Spec]) -> Map:
    """A document of the same kind and name, laid over `base`, as the field table of `spec` says."""
    merged = dict(base.entries)
    for key, entry in over.entries.items():
        below = merged.get(key)
        if below is None or not (isinstance(entry.node, Map) and isinstance(below.node, Map)):
            merged[key] = entry
        elif key == "spec":
            merged[key] = Entry(below.key_place, _object(below.node, entry.node, spec))
        elif key == "metadata":
            merged[key] = Entry(below.key_place, _metadata(below.node, entry.node))
    return Map(base.place, merged)


def _metadata(base: Map, over: Map) -> Map:
    merged = dict(base.entries)
    for key, entry in over.entries.items():
        below = merged.get(key)
        if key in _ENVELOPE_MAPS and below and isinstance(below.node, Map) and isinstance(entry.node, Map):
            merged[key] = Entry(below.key_place, _mapping(below.node, entry.node, None))
        else:
            merged[key] = entry
    return Map(base.place, merged)


def _object(base: Map, over: Map, spec: type[Spec]) -> Map:
    table = {shape.key: (shape.mark, shape.nested) for shape in shapes(spec)}
    merged = dict(base.entries)
    for key, entry in over.entries.items():
        below = merged.pop(key, None)
        if not (isinstance(entry.node, Scalar) and entry.node.is_null):
            mark, nested = table.get(key, (None, None))
            node = entry.node if below is None else _value(below.node, entry.node, mark, nested)
            # A value that merged keeps its first key's place; one that took over is found at its own.
            merged[key] = Entry(entry.key_place if below is None or node is entry.node else below.key_place, node)
    return Map(base.place, merged)


def _value(base: Node, over: Node, mark: Mark | None, nested: type[Spec] | None) -> Node:
    list_type = mark.list_type if mark else ListType.ATOMIC
    if isinstance(base, Map) and isinstance(over, Map):
        if list_type is ListType.MAP:
            return _mapping(base, over, nested)
        return over if nested is None else _object(base, over, nested)
    if isinstance(base, Sequence) and isinstance(over, Sequence):
        if mark and mark.merge_key and nested is not None:
            return _keyed(base, over, mark.merge_key, nested)
        if list_type is ListType.SET:
            return _union(base, over)
    return over


def _mapping(base: Map, over: Map, nested: type[Spec] | None) -> Map:
    merged = dict(base.entries)
    for key, entry in over.entries.items():
        below = merged.pop(key, None)
        if isinstance(entry.node, Scalar) and entry.node.is_null:
            continue
        if below and nested and isinstance(below.node, Map) and isinstance(entry.node, Map):
            merged[key] = Entry(below.key_place, _object(below.node, entry.node, nested))
        else:
            merged[key] = entry
    return Map(base.place, merged)


def _union(base: Sequence, over: Sequence) -> Sequence:
    known = {item.text for item in base.items if isinstance(item, Scalar)}
    fresh = (item for item in over.items if not (isinstance(item, Scalar) and item.text in known))
    return Sequence(base.place, (*base.items, *fresh))


def _keyed(base: Sequence, over: Sequence, merge_key: str, nested: type[Spec]) -> Sequence:
    items = list(base.items)
    index = {key: at for at, item in enumerate(items) if (key := _key_of(item, merge_key)) is not None}
    for item in over.items:
        key = _key_of(item, merge_key)
        below = items[index[key]] if key in index else None
        if key is not None and isinstance(below, Map) and isinstance(item, Map):
            items[index[key]] = _object(below, item, nested)
        else:
            items.append(item)
    return Sequence(base.place, tuple(items))


def _key_of(item: Node, merge_key: str) -> str | None:
    entry = item.entries.get(merge_key) if isinstance(item, Map) else None
    return entry.node.text if entry and isinstance(entry.node, Scalar) else None

"""Document → typed `Resource`: the envelope checked, the spec validated, paths made absolute. All faults at once.

The last step for a single document; `stack` then looks at what only shows across documents. The rule: a value is
accepted as the type it is written as (a quoted number is text), and nothing is accepted that has no effect.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import ValidationError

from nexus_ctl.manifest.document import FIELDS, Document, nearest
from nexus_ctl.manifest.faults import expected, spec_faults
from nexus_ctl.manifest.nodes import TRUTH_WORDS, Faults, Map, Node, Path, Scalar, Sequence, find, plain
from nexus_ctl.resources.declared import dotted
from nexus_ctl.resources.envelope import (
    ADOPT,
    ANNOTATIONS,
    DEPENDS_ON,
    NAME,
    PROTECT,
    RENAMED_FROM,
    WAVE,
    Metadata,
    Ref,
    Resource,
)
from nexus_ctl.resources.field import ListType, Row, Spec, field_table
from nexus_ctl.resources.kinds import KINDS
from nexus_ctl.resources.ownership import PREFIX

_METADATA = ("name", "labels", "annotations")
_PROTECTIONS = ("delete", "replace", "all")


def parse(document: Document, faults: Faults) -> Resource[Any] | None:
    """The resource; None, with every fault handed over, when the document has one."""
    errors = 0

    def count(fault: Any) -> None:
        nonlocal errors
        errors += fault.severity == "error"
        faults(fault)

    node = document.node
    for key, entry in node.entries.items():
        if key not in FIELDS:
            count(entry.key_place.fault("unknown-field", f'no field "{key}" here', path=key, hint=nearest(key, FIELDS)))
    if status := node.entries.get("status"):
        count(status.key_place.fault("ignored-status", "status", path="status", severity="warning"))
    metadata = _metadata(document, count)
    spec = _spec(document, KINDS[document.ref.kind].spec, count)
    return Resource(document.ref.kind, metadata, spec) if spec is not None and not errors else None


def _metadata(document: Document, faults: Faults) -> Metadata:
    node, _ = find(document.node, ("metadata",))
    assert isinstance(node, Map)
    for key, entry in node.entries.items():
        if key not in _METADATA:
            hint = nearest(key, _METADATA)
            faults(entry.key_place.fault("unknown-field", f'no field "{key}" here', path=f"metadata.{key}", hint=hint))
    labels = _texts(node, "labels", faults)
    for key in labels:
        if key.startswith(PREFIX):
            faults(_key_place(node, "labels", key).fault("reserved-label", key, path=f"metadata.labels.{key}"))
    annotations = _texts(node, "annotations", faults)
    for key, value in annotations.items():
        if key.startswith(PREFIX):
            _annotation(document, key, value, faults)
    return Metadata(document.ref.name, labels, annotations)


def _key_place(node: Map, field: str, key: str) -> Any:
    parent = node.entries[field].node
    assert isinstance(parent, Map)
    return parent.entries[key].key_place


def _texts(metadata: Map, field: str, faults: Faults) -> dict[str, str]:
    """The map of text to text at `field`, keys sorted; what is not text is reported and left out."""
    entry = metadata.entries.get(field)
    if entry is None or (isinstance(entry.node, Scalar) and entry.node.is_null):
        return {}
    if not isinstance(entry.node, Map):
        faults(entry.key_place.fault("wrong-type", "wants a map of text to text", path=f"metadata.{field}"))
        return {}
    texts = {}
    for key, item in sorted(entry.node.entries.items()):
        if isinstance(item.node, Scalar) and item.node.is_text:
            texts[key] = item.node.text
        else:
            place = item.node.place if isinstance(item.node, Scalar) and item.node.text else item.key_place
            hint = f'put it in quotes: "{item.node.text}"' if isinstance(item.node, Scalar) else ""
            faults(place.fault("wrong-type", "wants text", path=f"metadata.{field}.{key}", hint=hint))
    return texts


CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def _annotation(document: Document, key: str, value: str, faults: Faults) -> None:
    path: Path = ("metadata", "annotations", key)
    _, place = find(document.node, path)
    where = f"metadata.annotations.{key}"
    if key not in ANNOTATIONS:
        node, _ = find(document.node, ("metadata",))
        assert isinstance(node, Map)
        key_place = _key_place(node, "annotations", key)
        faults(key_place.fault("unknown-annotation", key, path=where, hint=nearest(key, ANNOTATIONS)))
    elif key == PROTECT and value not in _PROTECTIONS:
        faults(place.fault("invalid-annotation", value, path=where, hint=nearest(value, _PROTECTIONS)))
    elif key == WAVE and not (value.removeprefix("-").isascii() and value.removeprefix("-").isdigit()):
        faults(place.fault("invalid-annotation", value, path=where, hint='write a whole number in quotes, "1"'))
    elif key == ADOPT and not (document.ref.kind == "Deployment" and CONTAINER_NAME.fullmatch(value)):
        faults(place.fault("invalid-annotation", value, path=where, hint="name a container, on a Deployment"))
    elif key == RENAMED_FROM and not NAME.fullmatch(value):
        faults(place.fault("invalid-annotation", value, path=where, hint="write the former name, without the kind"))
    elif key == DEPENDS_ON:
        for part in filter(None, map(str.strip, value.split(","))):
            if problem := _not_a_ref(part):
                faults(place.fault("invalid-annotation", part, path=where, hint=problem))


def _not_a_ref(text: str) -> str:
    try:
        ref = Ref.parse(text)
    except ValueError:
        return "write Kind/name, separated by commas"
    objects = [name for name in KINDS if name != "Stack"]
    return "" if ref.kind in objects else nearest(ref.kind, objects)


def _spec(document: Document, spec: type[Spec], faults: Faults) -> Spec | None:
    entry = document.node.entries.get("spec")
    if entry is None or (isinstance(entry.node, Scalar) and entry.node.is_null):
        if any(row.required for row in field_table(spec) if row.path.count(".") == 1):
            place = entry.key_place if entry else document.node.place
            faults(
                place.fault(
                    "missing-field", '"spec" is required', path="spec", hint=f"a {document.ref.kind} needs a spec"
                )
            )
            return None
        return spec()
    if not isinstance(entry.node, Map):
        faults(entry.key_place.fault("wrong-type", "wants an object", path="spec"))
        return None
    broken: set[Any] = set()

    def unreadable(fault: Any) -> None:
        broken.add(fault.location)
        faults(fault)

    values = plain(entry.node, unreadable)
    _refuse_repeats(document, spec, values, faults)
    _refuse_truth_words(document, spec, faults)
    for row in _path_rows(spec):
        _make_absolute(
            values, entry.node, tuple(row.path.replace("{}", ".{}").replace("[]", ".[]").split(".")[1:]), row
        )
    try:
        return spec.model_validate(values, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        for fault in spec_faults(error.errors(include_url=False), spec, document.node):
            if fault.location not in broken:
                faults(fault)
        return None


def _scalars(node: Node, path: Path) -> Iterator[tuple[Path, Scalar]]:
    if isinstance(node, Map):
        for key, entry in node.entries.items():
            yield from _scalars(entry.node, (*path, key))
    elif isinstance(node, Sequence):
        for at, item in enumerate(node.items):
            yield from _scalars(item, (*path, at))
    else:
        yield path, node


def _refuse_truth_words(document: Document, spec: type[Spec], faults: Faults) -> None:
    """Refuse a bare `yes`, `on`, ... where both text and true/false are taken: nobody could tell which is meant."""
    node, _ = find(document.node, ("spec",))
    for path, scalar in _scalars(node, ()):
        if scalar.plain and len(scalar.text) <= 3 and scalar.text.lower() in TRUTH_WORDS:
            wanted = expected(spec, path)
            if wanted == "any" or ("boolean" in wanted and "string" in wanted):
                hint = f'write true or false, or "{scalar.text}" in quotes for the text'
                where = dotted(("spec", *path))
                faults(scalar.place.fault("ambiguous-word", scalar.text, path=where, hint=hint))


def _refuse_repeats(document: Document, spec: type[Spec], values: dict[str, Any], faults: Faults) -> None:
    for row in field_table(spec):
        if row.mark.list_type is ListType.SET and row.path.count(".") == 1 and "[" not in row.path:
            key = row.path.removeprefix("spec.")
            items = values.get(key)
            if isinstance(items, list):
                seen = Counter[str]()
                for at, item in enumerate(items):
                    if isinstance(item, str) and (seen.update([item]) or seen[item] == 2):
                        _, place = find(document.node, ("spec", key, at))
                        faults(place.fault("duplicate-item", item, path=f"{row.path}[{at}]", hint="keep it once"))


@cache
def _path_rows(spec: type[Spec]) -> tuple[Row, ...]:
    """The rows whose values are paths of this machine."""
    return tuple(row for row in field_table(spec) if row.type_name == "path")


def _make_absolute(values: Any, node: Node, steps: tuple[str, ...], row: Row) -> None:
    """Make the path at `steps` absolute against the folder of the file it is written in, in place.

    A value equal to the default stays as it is, so that writing the default out is the same as leaving it out.
    """
    step, rest = steps[0], steps[1:]
    if step in ("{}", "[]"):
        inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
        for key, value in inner:
            _make_absolute(value, find(node, (key,))[0], rest, row)
    elif isinstance(values, dict) and isinstance(node, Map) and step in values:
        value, below = values[step], node.entries[step].node
        if rest:
            _make_absolute(value, below, rest, row)
        elif isinstance(value, str) and value and value != row.default:
            values[step] = os.path.normpath(os.path.join(below.place.source.folder, os.path.expanduser(value)))

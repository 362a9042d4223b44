"""pydantic's errors → diagnostics: at the offending key or value, in plain words, with the way out.

Called by `parse`. What a field wants to be is read from the field table, so that the words here, `explain` and the
JSON Schema agree. Several errors of one value (the branches of a union) become one diagnostic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from nexus_ctl.errors import Diagnostic
from nexus_ctl.manifest.document import nearest
from nexus_ctl.manifest.nodes import TRUTH_WORDS, Map, Node, Path, Scalar, Sequence, find
from nexus_ctl.resources.declared import dotted
from nexus_ctl.resources.field import Row, Spec, field_table, first_sentence, type_name
from nexus_ctl.resources.kinds import KINDS

_RANGE = {
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "needs at least {min_length} item(s)",
    "too_long": "may have at most {max_length} items",
    "string_too_short": "needs at least {min_length} character(s)",
    "string_too_long": "may have at most {max_length} characters",
}
_SPOKEN = {"integer": "an integer", "object": "an object", "boolean": "true or false", "string": "text"}
_SPOKEN |= {"number": "a number", "path": "a path, as text"}


def with_article(type_words: str) -> str:
    """`list of string` as it reads after "wants"."""
    return _SPOKEN.get(type_words, type_words if type_words.startswith("one of") else f"a {type_words}")


def spec_faults(errors: Iterable[ErrorDetails], spec: type[Spec], document: Node) -> list[Diagnostic]:
    """One diagnostic for each place that pydantic complains about in `spec` of `document`."""
    placed = sorted(((_resolve(document, error), at, error) for at, error in enumerate(errors)), key=_order)
    found = []
    for path, group in groupby(placed, key=lambda item: item[0]):
        same = [error for _, _, error in group]
        whole = [error for error in same if error["type"] in ("missing", "extra_forbidden", "value_error")]
        found += [_fault(document, spec, path, [error]) for error in whole] or [_fault(document, spec, path, same)]
    return found


def _order(item: tuple[Path, int, ErrorDetails]) -> tuple[list[str], int]:
    return [f"{part:>9}" if isinstance(part, int) else part for part in item[0]], item[1]


def _resolve(document: Node, error: ErrorDetails) -> Path:
    """The longest part of the error's location that is written in the document; union branches fall away."""
    path: Path = ("spec",)
    node, _ = find(document, path)
    for part in error["loc"]:
        if isinstance(node, Map) and isinstance(part, str) and part in node.entries:
            node = node.entries[part].node
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        else:
            break
        path = (*path, part)
    return path


def _fault(document: Node, spec: type[Spec], path: Path, same: list[ErrorDetails]) -> Diagnostic:
    node, place = find(document, path)
    error = same[0]
    kind, context = error["type"], error.get("ctx", {})
    where = dotted(path)
    if kind == "missing":
        name = str(error["loc"][-1])
        row = row_at(spec, (*path[1:], name))
        hint = first_sentence(row.doc) if row else ""
        return place.fault("missing-field", f'"{name}" is required', path=f"{where}.{name}", hint=hint)
    if kind == "extra_forbidden":
        _, key_place = find(document, path[:-1])
        parent, _ = find(document, path[:-1])
        if isinstance(parent, Map):
            key_place = parent.entries[str(path[-1])].key_place
        return key_place.fault("unknown-field", _unknown(path[-1]), path=where, hint=_meant(spec, path))
    if kind == "value_error":
        return place.fault("invalid-value", _value_error(error), path=where)
    if error["loc"][-1] == "[key]":
        parent, _ = find(document, path[:-1])
        assert isinstance(parent, Map)
        key_place = parent.entries[str(path[-1])].key_place
        return key_place.fault("invalid-value", f"not a name: {path[-1]}", path=where, hint=_pattern(context))
    bounds = next((e for e in same if e["type"] in _RANGE), None)
    if bounds is not None:
        return place.fault("out-of-range", _RANGE[bounds["type"]].format(**bounds.get("ctx", {})), path=where)
    wanted = expected(spec, path[1:])
    required = (row := row_at(spec, path[1:])) is not None and row.required
    if kind == "literal_error" and wanted.startswith("one of: ") and isinstance(node, Scalar) and _is_text(error):
        return place.fault("invalid-choice", f"wants {wanted}", path=where, hint=_choice(node, wanted))
    if kind == "string_pattern_mismatch":
        return place.fault("invalid-value", "not of the wanted form", path=where, hint=_pattern(context))
    return place.fault(
        "wrong-type", f"wants {with_article(wanted)}", path=where, hint=_type_hint(node, wanted, required)
    )


def _unknown(key: object) -> str:
    return f'no field "{key}" here'


def _is_text(error: ErrorDetails) -> bool:
    return isinstance(error["input"], str)


def _value_error(error: ErrorDetails) -> str:
    return error["msg"].removeprefix("Value error, ")


def _pattern(context: Mapping[str, Any]) -> str:
    return f"it must match {context['pattern']}" if "pattern" in context else ""


def _choice(node: Scalar, wanted: str) -> str:
    hint = nearest(node.text, wanted.removeprefix("one of: ").split(" or ")[0].split(", "))
    return hint if hint.startswith("did") else ""


def _type_hint(node: Node, wanted: str, required: bool) -> str:
    """What to write instead, for the ways in which YAML surprises people."""
    if isinstance(node, Sequence) and wanted.startswith("map of"):
        return "write lines of NAME: VALUE, without dashes"
    if not isinstance(node, Scalar):
        return ""
    if node.is_null:
        return "it is empty; give it a value" if required else "it is empty; leave the field out for the default"
    if wanted == "string" and node.plain:
        return f'put it in quotes to make it text: "{node.text}"'
    if wanted == "boolean" and node.text.lower() in TRUTH_WORDS:
        return f"YAML 1.2 reads {node.text} as text; write true or false"
    if not node.plain and wanted in ("integer", "number", "boolean"):
        return "take the quotes away"
    if wanted == "integer" and ("_" in node.text or ":" in node.text):
        return "write plain digits"
    return ""


def expected(spec: type[Spec], path: Path) -> str:
    """What the field table says of the type at `path` below `spec`: of the item, where the path leads into a list."""
    row, _, extra = _walk(spec, path)
    if row is None:
        return "object" if not path else "value"
    name = type_name(row.info.annotation) if extra else row.type_name
    for _ in range(extra):
        name = name.removeprefix("list of ").removeprefix("map of string to ")
    return name


def row_at(spec: type[Spec], path: Path) -> Row | None:
    """The field table's row for the field at `path` below `spec`; None when `path` leads to no declared field."""
    row, _, extra = _walk(spec, path)
    return row if not extra else None


def _walk(spec: type[Spec], path: Path) -> tuple[Row | None, str, int]:
    """The deepest row on the way along `path`, its table prefix, and how many steps lead on into its items."""
    rows = {row.path: row for row in field_table(spec)}
    text, row, extra = "spec", None, 0
    for part in path:
        if isinstance(part, str) and f"{text}.{part}" in rows:
            text = f"{text}.{part}"
            row, extra = rows[text], 0
        else:
            text += "[]" if isinstance(part, int) else "{}"
            extra += 1
    return row, text, extra


def _meant(spec: type[Spec], path: Path) -> str:
    """Which field an unknown key was meant to be: a neighbour by spelling, or one of that name elsewhere."""
    key = str(path[-1])
    _, prefix, _ = _walk(spec, path[1:-1])
    table = field_table(spec)
    inside = f"{prefix}."
    neighbours = [row.path.removeprefix(inside) for row in table if row.path.startswith(inside)]
    neighbours = [name for name in neighbours if not set(".[{") & set(name)]
    if to_camel(key) in neighbours:
        return f'did you mean "{to_camel(key)}"?'
    elsewhere = [row.path for row in table if row.path.rpartition(".")[2] == to_camel(key)]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    if near := nearest(key, neighbours):
        return near
    kind = next(kind.name.lower() for kind in KINDS.values() if kind.spec is spec)
    return f"see the fields with:\nnexusctl explain {kind}.{prefix.replace('[]', '').replace('{}', '')}"

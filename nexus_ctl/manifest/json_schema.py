"""Field tables → JSON Schema, for editors and for anyone who checks manifests without nexusctl.

Draft-07, because that is what the YAML language server reads. Three forms: one schema per kind, `nexus.json` for any
document (what the modelines name), and `overlay.json` for the partial documents of an environment. The rule: a
document that loads is valid here. So every value that is not free text may also be an interpolation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from nexus_ctl.resources.envelope import ANNOTATIONS, API_VERSION, NAME
from nexus_ctl.resources.field import EFFECTS, Row, Spec, field_table
from nexus_ctl.resources.kinds import KINDS, Kind

Schema: TypeAlias = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
_DROPPED = ("title", "gt", "ge", "lt", "le", "$defs")
_INTERPOLATION: Schema = {"type": "string", "pattern": r"\$\{(env\.|file:)"}


def schemas() -> Mapping[str, Schema]:
    """Every schema by its file name."""
    whole = {f"{name.lower()}.json": _of_kind(row) for name, row in KINDS.items()}
    specs = {name: _spec(row.spec) for name, row in KINDS.items()}
    whole["nexus.json"] = _of_any("A nexusctl resource of any kind.", specs, required=True)
    partial = {name: _partial(spec) for name, spec in specs.items()}
    whole["overlay.json"] = _of_any("What an environment lays over a resource of the base.", partial, required=False)
    return whole


def write_schemas(directory: str | Path) -> list[str]:
    """Write every schema into `directory`, which is made if need be. Returns the file names, sorted."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (folder / name).write_text(text_of(schema), encoding="utf-8")
    return sorted(schemas())


def text_of(schema: Schema) -> str:
    """The schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _of_kind(kind: Kind) -> Schema:
    head = _envelope(kind.doc, {"const": kind.name, "description": kind.doc})
    head["properties"]["spec"] = _spec(kind.spec)
    head["required"] += ["spec"] if _needs_spec(kind) else []
    return head


def _of_any(doc: str, specs: Mapping[str, Schema], *, required: bool) -> Schema:
    kinds = {
        "enum": list(KINDS),
        "description": "What is declared.",
        "enumDescriptions": [k.doc for k in KINDS.values()],
    }
    head = _envelope(doc, kinds)
    head["properties"]["spec"] = {"type": "object", "description": "What is wished; its fields depend on the kind."}
    head["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
            "then": {
                "properties": {"spec": spec},
                "required": ["spec"] if required and _needs_spec(KINDS[name]) else [],
            },
        }
        for name, spec in specs.items()
    ]
    return head


def _needs_spec(kind: Kind) -> bool:
    return any(info.is_required() for info in kind.spec.model_fields.values())


def _envelope(doc: str, kind: Schema) -> Schema:
    text: Schema = {"type": "string"}
    annotations = {key: text | {"description": doc, "markdownDescription": doc} for key, doc in ANNOTATIONS.items()}
    metadata: Schema = {
        "type": "object",
        "description": "Name, labels and annotations.",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": _or_interpolation(text | {"pattern": f"^{NAME.pattern}$"})
            | {"description": "The identity of the resource within its kind: an RFC 1123 label."},
            "labels": {
                "type": ["object", "null"],
                "description": "For selecting.",
                "propertyNames": {"not": {"pattern": "^nexusctl/"}},
                "additionalProperties": text,
            },
            "annotations": {
                "type": ["object", "null"],
                "description": "Instructions to nexusctl, and notes of your own.",
                "properties": annotations,
                "patternProperties": {"^(?!nexusctl/)": text},
                "additionalProperties": False,
            },
        },
    }
    return {
        "$schema": DRAFT,
        "description": doc,
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {
            "apiVersion": {"const": API_VERSION, "description": "The version of the manifest format."},
            "kind": kind,
            "metadata": metadata,
            "status": {"description": "Written by nexusctl; ignored in a manifest."},
        },
    }


def _spec(spec: type[Spec]) -> Schema:
    source = spec.model_json_schema(by_alias=True)
    rows = {row.path: row for row in field_table(spec)}
    return _inlined(source, source.get("$defs", {}), "spec", rows)


def _inlined(schema: Schema, defs: Schema, path: str, rows: Mapping[str, Row]) -> Schema:
    """pydantic's schema with every reference put in place, so that each property keeps a description of its own."""
    if "$ref" in schema:
        target = defs[schema["$ref"].rpartition("/")[2]]
        schema = target | {key: value for key, value in schema.items() if key != "$ref"}
    made: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            made[key] = {name: _property(inner, defs, f"{path}.{name}", rows) for name, inner in value.items()}
        elif key == "items":
            made[key] = _or_interpolation(_inlined(value, defs, path + "[]", rows))
        elif key == "patternProperties":
            made[key] = {name: _inlined(inner, defs, path + "{}", rows) for name, inner in value.items()}
            made["additionalProperties"] = False
        elif key == "additionalProperties" and isinstance(value, dict):
            made[key] = _or_interpolation(_inlined(value, defs, path + "{}", rows))
        elif key == "anyOf":
            made[key] = [_inlined(inner, defs, path, rows) for inner in value]
        elif key not in _DROPPED:
            made[key] = value
    return made


def _property(schema: Schema, defs: Schema, path: str, rows: Mapping[str, Row]) -> Schema:
    row = rows[path]
    made = _or_interpolation(_inlined(schema, defs, path, rows))
    made.pop("default", None)
    default = row.written_default
    notes = [f"Default: `{json.dumps(default)}`."] if default is not None else []
    notes.append(f"A change {EFFECTS[row.mark.on_change]}.")
    made |= {"description": row.doc, "markdownDescription": f"{row.doc}\n\n{' '.join(notes)}"}
    return made | ({"default": default} if default is not None else {})


def _or_interpolation(schema: Schema) -> Schema:
    """`schema`, or an interpolation where it is not free text or an object.

    Simple alternatives become one schema with several types, because JSON Schema's constraints bind only values of
    their own type; editors then show a single description and a single message.
    """
    options = list(_options(schema))
    types = {one.get("type") for one in options}
    if types & {"object", "array", None}:
        return schema
    told = ("description", "default")
    rest = {key: value for key, value in schema.items() if key in told}
    options = [{key: value for key, value in one.items() if key not in told} for one in options]
    if any("enum" in one for one in options):
        return rest | {"anyOf": [*options, _INTERPOLATION]}
    free = any(one["type"] == "string" and "pattern" not in one for one in options)
    return rest | _of_types(options if free else [*options, _INTERPOLATION])


def _options(schema: Schema) -> Iterator[Schema]:
    for one in schema.get("anyOf", [schema]):
        yield from _options(one) if "anyOf" in one else [one]


def _of_types(options: list[Schema]) -> Schema:
    merged: Schema = {}
    for one in options:
        merged |= {key: value for key, value in one.items() if key not in ("type", "pattern")}
    types = list(dict.fromkeys(one["type"] for one in options))
    patterns = list(dict.fromkeys(one["pattern"] for one in options if "pattern" in one))
    pattern = {"pattern": "|".join(f"({one})" for one in patterns)} if patterns else {}
    return merged | pattern | {"type": types if len(types) > 1 else types[0]}


def _partial(schema: Schema) -> Schema:
    """The same schema with nothing required and `null`, which removes a key, allowed everywhere."""
    made = {key: value for key, value in schema.items() if key not in ("required", "minItems")}
    if "properties" in made:
        made["properties"] = {name: _or_null(_partial(inner)) for name, inner in made["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = _or_null(_partial(made[key])) if key != "items" else _partial(made[key])
    if "patternProperties" in made:
        made["patternProperties"] = {key: _or_null(_partial(one)) for key, one in made["patternProperties"].items()}
    if "anyOf" in made:
        made["anyOf"] = [_partial(one) for one in made["anyOf"]]
    return made


def _or_null(schema: Schema) -> Schema:
    null: Schema = {"type": "null"}
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], null]} if null not in schema["anyOf"] else schema
    if "type" not in schema or "enum" in schema:
        return schema
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    return schema | {"type": list(dict.fromkeys([*types, "null"]))}

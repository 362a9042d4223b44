"""The field table (R3): one source for type, default, doc, effect of a change, hash and merge of every spec field.

The pydantic models carry it: a field's annotation holds a marker (`LIVE`, `REPLACE`, ...), its docstring is the
documentation, its default the default. `field_table(cls)` flattens a spec class into rows; the diff, the plan's
reasons, the hash, `explain`, the overlay merge, the reference pages and the JSON Schema are all read from these rows,
so they cannot disagree.
"""

from __future__ import annotations

import ast
import inspect
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from nexus_ctl.resources.quantity import TypeName, format_bytes_exact, format_duration


class OnChange(StrEnum):
    """What a change of a field does to what is running."""

    NONE = "none"
    """Only nexusctl itself uses it; nothing in the world changes."""
    LIVE = "live"
    """Takes effect without a restart."""
    REPLACE = "replace"
    """Needs a new replica (or artifact)."""
    FORBIDDEN = "forbidden"
    """Cannot be changed on a living object; delete it first or declare another."""


EFFECTS: Mapping[OnChange, str] = {
    OnChange.NONE: "does nothing to what runs",
    OnChange.LIVE: "takes effect without a restart",
    OnChange.REPLACE: "needs a new replica or artifact",
    OnChange.FORBIDDEN: "is refused on a living object",
}
"""What a change of a field does, as a sentence that begins with "A change"."""


class ListType(StrEnum):
    """How an overlay merges a list or a map."""

    ATOMIC = "atomic"
    """The overlay's value takes the place of the whole."""
    SET = "set"
    """Union; order means nothing."""
    MAP = "map"
    """Merged key by key."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a field's annotation says beyond its type."""

    on_change: OnChange
    in_hash: bool
    list_type: ListType = ListType.ATOMIC
    merge_key: str = ""
    sensitive: bool = False
    ref_kind: str = ""
    """The kind whose name this field holds; makes the reference check and the dependency graph."""


INERT = Mark(OnChange.NONE, in_hash=False)
LIVE = Mark(OnChange.LIVE, in_hash=False)
REPLACE = Mark(OnChange.REPLACE, in_hash=True)
REPLACED_BY_CONTENT = Mark(OnChange.REPLACE, in_hash=False)
"""A name whose content counts: a digest label of its own decides, so that renaming or moving is no change (R7)."""
FORBIDDEN = Mark(OnChange.FORBIDDEN, in_hash=True)


def refers_to(mark: Mark, kind: str) -> Mark:
    """`mark` for a field that holds the name of a resource of `kind`."""
    return replace(mark, ref_kind=kind)


def as_set(mark: Mark) -> Mark:
    """`mark` for a list whose order means nothing."""
    return replace(mark, list_type=ListType.SET)


def as_map(mark: Mark, merge_key: str = "") -> Mark:
    """`mark` for a mapping (or a list of objects keyed by `merge_key`) that overlays merge key by key."""
    return replace(mark, list_type=ListType.MAP, merge_key=merge_key)


class Spec(BaseModel):
    """Base of everything inside `spec`: camelCase outside, frozen, unknown keys refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One field of a kind. `path` is dotted camelCase from `spec`; `[]` and `{}` stand for list and map items."""

    path: str
    type_name: str
    required: bool
    default: Any
    doc: str
    mark: Mark
    info: FieldInfo
    children: bool
    """True when the rows below this one describe it further."""

    @property
    def written_default(self) -> Any:
        """The default as a manifest would write it; None where there is none, or it is a whole object."""
        if self.default is None or isinstance(self.default, Spec):
            return None
        write = {"duration": format_duration, "byte size": format_bytes_exact}.get(self.type_name)
        return write(self.default) if write else self.default


@cache
def field_table(spec: type[Spec]) -> tuple[Row, ...]:
    """All rows of `spec`, parents before children, in declaration order.

    A field without a mark of its own takes its parent's. Raises TypeError where no mark can be found: a field
    whose change has no declared effect must not exist.
    """
    return tuple(_rows(spec, "spec", None))


def _rows(spec: type[Spec], prefix: str, inherited: Mark | None) -> Iterator[Row]:
    docs = _docstrings(spec)
    for name, info in spec.model_fields.items():
        path = f"{prefix}.{info.alias or name}"
        mark = next((m for m in info.metadata if isinstance(m, Mark)), inherited)
        if mark is None:
            raise TypeError(f"{spec.__name__}.{name} ({path}) declares no effect of a change")
        nested, suffix = _nested(info.annotation)
        yield Row(
            path=path,
            type_name=type_name(Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation),
            required=info.is_required(),
            default=None if info.is_required() else info.get_default(call_default_factory=True, validated_data={}),
            doc=docs.get(name, ""),
            mark=mark,
            info=info,
            children=nested is not None,
        )
        if nested is not None:
            yield from _rows(nested, path + suffix, replace(mark, list_type=ListType.ATOMIC, merge_key="", ref_kind=""))


@cache
def _docstrings(spec: type[Spec]) -> Mapping[str, str]:
    """The docstring under each field, read from the source only when somebody asks: pydantic's own reading of them at
    import was a tenth of the start-up of `validate`."""
    docs: dict[str, str] = {}
    for each in reversed(spec.__mro__):
        if issubclass(each, Spec) and each is not Spec:
            [definition] = ast.parse(dedent(inspect.getsource(each))).body
            assert isinstance(definition, ast.ClassDef)
            for field, after in pairwise(definition.body):
                match field, after:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        docs[name] = " ".join(text.split())
    return docs


def first_sentence(doc: str) -> str:
    """The first sentence of a field's documentation."""
    return re.split(r"(?<=[.?!])\s", doc, maxsplit=1)[0]


def _nested(annotation: Any) -> tuple[type[Spec] | None, str]:
    """The Spec class inside an annotation and the path suffix that leads into it (`[]` list, `{}` map)."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return annotation, ""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _nested(args[0])
    if origin in (Union, types.UnionType):
        found = [nested for nested in map(_nested, args) if nested[0] is not None]
        return found[0] if found else (None, "")
    if origin in (list, tuple) and args:
        nested, suffix = _nested(args[0])
        return nested, "[]" + suffix
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        nested, suffix = _nested(args[1])
        return nested, "{}" + suffix
    return None, ""


def type_name(annotation: Any) -> str:
    """A short name for people: `integer`, `string`, `list of string`, `one of: a, b`."""
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return "one of: " + ", ".join(annotation)
    simple = {int: "integer", float: "number", str: "string", bool: "boolean", Any: "any"}
    if annotation in simple:
        return simple[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object"
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return next((extra.name for extra in args[1:] if isinstance(extra, TypeName)), "") or type_name(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(arg) for arg in args if arg is not type(None))
    if origin in (list, tuple):
        return f"list of {type_name(args[0])}"
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return f"map of string to {type_name(args[1])}"
    if str(origin) == "typing.Literal":
        return "one of: " + ", ".join(map(str, args))
    return getattr(annotation, "__name__", str(annotation))

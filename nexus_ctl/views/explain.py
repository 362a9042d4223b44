"""`nexusctl explain`: a field of a kind in words, from the field table.

The rule: it says what the loader accepts and what the planner does, because all three read the same rows.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from nexus_ctl.errors import UsageError
from nexus_ctl.resources.envelope import ANNOTATIONS
from nexus_ctl.resources.field import EFFECTS, OnChange, field_table, first_sentence
from nexus_ctl.resources.kinds import KINDS, Kind, kind_named


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that can be explained. `path` is dotted below the kind, without list and map marks."""

    path: str
    type_name: str
    doc: str
    facts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


def explain(path: str, recursive: bool = False) -> str:
    """What `deployment.spec.engine` is: type, default, what a change does, documentation, fields below.

    The kind may be written in any way people name it, and `spec` may be left out. With `recursive` the whole tree
    below. Raises UsageError, with a suggestion, for what is not there.
    """
    word, _, rest = path.partition(".")
    kind = kind_named(word)
    if kind is None:
        raise UsageError(
            f'there is no kind "{word}"', hint=_nearest(word, [row.name.lower() for row in KINDS.values()])
        )
    entries = list(_entries(kind))
    if not rest:
        return _page(kind.name, kind.doc, (), _below(entries, ""), recursive)
    known = {entry.path: entry for entry in entries}
    entry = known.get(rest) or known.get(f"spec.{rest}")
    if entry is None:
        parent = rest.rpartition(".")[0]
        siblings = [one.path for one in entries if one.path.rpartition(".")[0] in (parent, f"spec.{parent}")]
        meant = _nearest(rest, siblings) or _nearest(rest, list(known))
        raise UsageError(f'{kind.name} has no field "{rest}"', hint=meant)
    title = f"{kind.name}.{entry.path}  {entry.type_name}"
    return _page(title, entry.doc, entry.facts, _below(entries, entry.path), recursive)


def _entries(kind: Kind) -> Iterator[Entry]:
    yield Entry("metadata", "object", "Name, labels and annotations.")
    yield Entry(
        "metadata.name", "string", "The identity within the kind: a-z, 0-9 and dashes, at most 63.", ("required",)
    )
    yield Entry("metadata.labels", "map of string to string", "For selecting.", (f"a change {EFFECTS[OnChange.NONE]}",))
    own = "\n".join(f"{key}: {doc}." for key, doc in ANNOTATIONS.items())
    doc = f"Instructions to nexusctl, and notes of your own.\n{own}"
    yield Entry("metadata.annotations", "map of string to string", doc, (f"a change {EFFECTS[OnChange.NONE]}",))
    yield Entry("spec", "object", kind.doc)
    for row in field_table(kind.spec):
        facts = ["required"] if row.required else []
        if row.written_default is not None:
            facts.append(f"default: {json.dumps(row.written_default, ensure_ascii=False)}")
        facts.append(f"a change {EFFECTS[row.mark.on_change]}")
        if row.mark.ref_kind:
            facts.append(f"names a {row.mark.ref_kind}")
        yield Entry(row.path.replace("[]", "").replace("{}", ""), row.type_name, row.doc, tuple(facts))


def _below(entries: Sequence[Entry], path: str) -> list[Entry]:
    return [entry for entry in entries if not path or entry.path.startswith(f"{path}.")]


def _page(title: str, doc: str, facts: Sequence[str], below: Sequence[Entry], recursive: bool) -> str:
    parts = [title, *(f"  {fact}" for fact in facts), "", _wrapped(doc, "")]
    if below:
        parts += ["", "Fields:"]
        top = min(entry.path.count(".") for entry in below)
        for entry in below:
            depth = entry.path.count(".") - top
            if depth == 0 or recursive:
                parts.append(f"{'  ' * (depth + 1)}{entry.name}  {entry.type_name}")
                if not recursive:
                    parts.append(_wrapped(first_sentence(entry.doc), "      "))
    return "\n".join(parts) + "\n"


def _wrapped(text: str, indent: str) -> str:
    return "\n".join(
        textwrap.fill(line, 100, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
        for line in text.split("\n")
    )


def _nearest(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word, known, n=1) or get_close_matches(f"spec.{word}", known, n=1)
    return f'did you mean "{close[0]}"?' if close else ""

"""A document's identity: which kind it is and what it is called, before anything else of it is looked at.

Between `interpolate` and `overlay`: base and overlay documents find each other by it. The rule: a document that
cannot be named is reported here and goes no further.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from nexus_ctl.manifest.nodes import Faults, Map, Node, Place, Scalar, at, find
from nexus_ctl.resources.envelope import API_VERSION, NAME, Ref
from nexus_ctl.resources.kinds import KINDS, kind_named

FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")


@dataclass(frozen=True, slots=True)
class Document:
    """A document with a known kind and a good name."""

    ref: Ref
    node: Map

    @property
    def name_place(self) -> Place:
        """Where its name stands."""
        return find(self.node, ("metadata", "name"))[1]


def nearest(word: str, known: Any) -> str:
    """A hint with the known word that is meant, or all of them when there are few; empty when neither helps."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.65) or [one for one in known if one.lower() == word.lower()]
    if close:
        return f'did you mean "{close[0]}"?'
    return f"one of: {', '.join(known)}" if 0 < len(known) <= 8 else ""


def identify(node: Node, faults: Faults) -> Document | None:
    """The document's identity; None, with every fault handed over, when it has none."""
    if not isinstance(node, Map):
        hint = f"a resource begins with apiVersion: {API_VERSION}, then kind, metadata and spec"
        faults(node.place.fault("not-a-resource", "not a mapping", hint=hint))
        return None
    version = _text(node, node.place, "apiVersion", faults, hint=f"write apiVersion: {API_VERSION}")
    if version is not None and version.text != API_VERSION:
        hint = f"this nexusctl reads {API_VERSION}"
        faults(version.place.fault("unknown-version", version.text, path="apiVersion", hint=hint))
    kind = _text(node, node.place, "kind", faults, hint=f"one of: {', '.join(KINDS)}")
    if kind is not None and kind.text not in KINDS:
        meant = kind_named(kind.text)
        hint = f'did you mean "{meant.name}"?' if meant else nearest(kind.text, KINDS)
        faults(kind.place.fault("unknown-kind", kind.text, path="kind", hint=hint))
        kind = None
    metadata = node.entries.get("metadata")
    if metadata is None or not isinstance(metadata.node, Map):
        place = metadata.key_place if metadata else node.place
        missing = metadata is None or (isinstance(metadata.node, Scalar) and metadata.node.is_null)
        code, detail = ("missing-field", '"metadata" is required') if missing else ("wrong-type", "wants an object")
        faults(place.fault(code, detail, path="metadata", hint="every resource has metadata.name"))
        return None
    name = _text(metadata.node, metadata.key_place, "metadata.name", faults, hint="every resource has a name")
    if name is not None and not NAME.fullmatch(name.text):
        hint = "lower-case letters, digits and dashes, at most 63, a letter or digit first and last"
        faults(name.place.fault("invalid-name", repr(name.text), path="metadata.name", hint=hint))
        name = None
    return Document(Ref(kind.text, name.text), node) if kind and name else None


def nameless(node: Node) -> Document | None:
    """The document under no name, where its kind is known: so that the faults of its spec are told beside that of its
    name. None where not even the kind is known."""
    if not isinstance(node, Map) or not isinstance(at(node, "metadata"), Map):
        return None
    kind = at(node, "kind")
    return Document(Ref(kind.text, ""), node) if isinstance(kind, Scalar) and kind.text in KINDS else None


def _text(parent: Map, parent_place: Place, path: str, faults: Faults, *, hint: str) -> Scalar | None:
    key = path.rpartition(".")[2]
    entry = parent.entries.get(key)
    if entry is None:
        faults(parent_place.fault("missing-field", f'"{key}" is required', path=path, hint=hint))
    elif isinstance(entry.node, Scalar) and entry.node.is_null:
        faults(entry.key_place.fault("missing-field", f'"{key}" is empty', path=path, hint=hint))
    elif isinstance(entry.node, Scalar) and entry.node.is_text:
        return entry.node
    else:
        place = entry.node.place if isinstance(entry.node, Scalar) else entry.key_place
        quoted = f'write "{entry.node.text}"' if isinstance(entry.node, Scalar) else hint
        faults(place.fault("wrong-type", "wants text", path=path, hint=quoted))
    return None

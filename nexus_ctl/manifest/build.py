"""Stack → YAML: the final documents that are planned, as `nexusctl build` prints them.

The rule: what it writes loads again, from anywhere, to an equal Stack. So paths are absolute, interpolations and
overlays are done, and every text that could be read as something else is quoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from nexus_ctl.manifest.interpolate import escape
from nexus_ctl.manifest.nodes import TRUTH_WORDS, resolve
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import API_VERSION, Metadata
from nexus_ctl.resources.normal import normalise

_BASE: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_BASE):  # type: ignore[misc]  # libyaml's dumper where there is one
    """Quotes by our own reading of scalars, not by YAML 1.1's."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _needs_quotes(text) else None)


def _needs_quotes(text: str) -> bool:
    try:
        return not isinstance(resolve(text), str) or text.lower() in TRUTH_WORDS or "${" in text
    except ValueError:
        return True


_Dumper.add_representer(str, _text)


def to_yaml(stack: Stack) -> str:
    """Every document of `stack`, the Stack's own first, defaults left out."""
    documents = [_document("Stack", Metadata(stack.name), normalise(stack.settings))]
    documents += [_document(one.kind, one.metadata, one.normalised) for one in stack.resources.values()]
    return _dump(documents)


def documents_to_yaml(documents: Iterable[Mapping[str, Any]]) -> str:
    """Plain documents, written so that every text reads back as itself."""
    return _dump([_escaped(document) for document in documents])


def _dump(documents: list[dict[str, Any]]) -> str:
    text: str = yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120
    )
    return text


def _document(kind: str, metadata: Metadata, spec: dict[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"name": metadata.name}
    if metadata.labels:
        head["labels"] = dict(metadata.labels)
    if metadata.annotations:
        head["annotations"] = dict(metadata.annotations)
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": _escaped(head), "spec": _escaped(spec)}


def _escaped(value: Any) -> Any:
    """The values with every text written so that it is not interpolated; keys never are."""
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escaped(inner) for inner in value]
    return escape(value) if isinstance(value, str) else value

"""`${env.X}`, `${env.X:-default}`, `${file:path}` and the escape `$${`, in scalar values only.

Between `source` and `overlay`: nodes in, nodes out. The rule: text goes in, never structure. A plain (unquoted) value
that is one interpolation as a whole is read like a plain value of that text, so `replicas: ${env.N}` can be a number;
everything else stays text. What is put in is not interpolated again. Secrets do not belong here: they are named by
`valueFrom`, which is only read when an engine starts and never shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from nexus_ctl.manifest.files import MAX_TEXT_BYTES, read_at_most
from nexus_ctl.manifest.nodes import Entry, Faults, Map, Node, Scalar, Sequence

_MARK = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_ENV = re.compile(r"env\.([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_FORMS = "write ${env.NAME}, ${env.NAME:-default} or ${file:path}; $${ stands for a plain ${"

FileRead = Callable[[str, bytes], None]
"""Told of every file that was read, with its bytes."""


def interpolate(node: Node, environ: Mapping[str, str], faults: Faults, on_file: FileRead) -> Node:
    """`node` with every interpolation put in; the same node where there is none."""
    if isinstance(node, Map):
        entries = {
            key: Entry(entry.key_place, interpolate(entry.node, environ, faults, on_file))
            for key, entry in node.entries.items()
        }
        return Map(node.place, entries)
    if isinstance(node, Sequence):
        return Sequence(node.place, tuple(interpolate(item, environ, faults, on_file) for item in node.items))
    if "${" not in node.text:
        return node
    whole = _MARK.fullmatch(node.text) is not None and not node.text.startswith("$${")
    text = _MARK.sub(lambda match: _value(match, node, environ, faults, on_file), node.text)
    return Scalar(node.place, text, plain=node.plain and whole)


def escape(text: str) -> str:
    """The text that reads as `text`."""
    return text.replace("${", "$${")


def _value(match: re.Match[str], node: Scalar, environ: Mapping[str, str], faults: Faults, on_file: FileRead) -> str:
    if match[0] == "$${":
        return "${"
    inner = match[1]
    if not match[2] or "${" in inner:
        problem = "one inside another" if match[2] else "the closing } is missing"
        faults(node.place.fault("bad-interpolation", problem, hint=_FORMS))
    elif inner.startswith("file:"):
        return _file(inner.removeprefix("file:"), node, faults, on_file)
    elif (env := _ENV.fullmatch(inner)) is None:
        faults(node.place.fault("bad-interpolation", f"${{{inner}}}", hint=_FORMS))
    elif value := environ.get(env[1]):
        return value
    elif env[2] is not None:
        return env[2]
    elif env[1] in environ:
        return ""
    else:
        hint = f"set {env[1]}, or give a default: ${{env.{env[1]}:-default}}"
        faults(node.place.fault("unset-variable", env[1], hint=hint))
    return ""


def _file(name: str, node: Scalar, faults: Faults, on_file: FileRead) -> str:
    path = os.path.join(node.place.source.folder, os.path.expanduser(name))
    try:
        data = read_at_most(path, MAX_TEXT_BYTES)
    except (OSError, ValueError) as error:
        detail = getattr(error, "strerror", None) or str(error)
        hint = f"the path is relative to the manifest: {node.place.source.folder}"
        faults(node.place.fault("missing-file", f"{name}: {detail}", hint=hint))
        return ""
    if len(data) > MAX_TEXT_BYTES:
        faults(node.place.fault("file-too-large", f"{name}: more than {MAX_TEXT_BYTES} bytes"))
        return ""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        faults(node.place.fault("not-utf8", f"{name}: byte {error.start}"))
        return ""
    on_file(path, data)
    return text.removesuffix("\n")

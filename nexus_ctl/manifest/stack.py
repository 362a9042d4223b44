"""The one entry: paths → Stack. Reads every file, lays the environment over, parses, checks, and reports all at once.

Called by every command that takes `-f` and by the daemon. The rule: it returns a whole Stack or raises one
ManifestError that holds every fault; nothing is half loaded. The order of files, documents and keys means nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TextIO

from nexus_ctl.errors import Diagnostic, ManifestError, UsageError
from nexus_ctl.manifest import files, lock, nodes, source
from nexus_ctl.manifest.check import Declared, check, check_settings
from nexus_ctl.manifest.document import Document, identify, nameless
from nexus_ctl.manifest.interpolate import interpolate
from nexus_ctl.manifest.nodes import Map, Node, Place, Scalar, Source, at, find
from nexus_ctl.manifest.overlay import overlay
from nexus_ctl.manifest.parse import parse
from nexus_ctl.resources.declared import Input, Stack
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.kinds import KINDS
from nexus_ctl.resources.stack import StackSpec

STDIN = "<stdin>"


def load(
    paths: Sequence[str] = (),
    *,
    environment: str | None = None,
    stdin: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Stack:
    """The Stack that `paths` declare: files, folders, globs and `-`; without any, the nearest `nexus.yaml` upward.

    When no Stack document is among them, the nearest `nexus.yaml` upward gives the settings, else the defaults and the
    name `default`. Raises ManifestError with every fault, UsageError for a path or environment that does not exist.
    """
    reading = _Reading(environ)
    found = reading.named(paths, stdin)
    root, given = _stack_document(found, reading)
    folder = root.place.source.folder if root else os.getcwd()
    written = root is not None and root.place.source.name != STDIN
    manifest = root.place.source.path if root is not None and written else os.path.join(folder, files.WORKSPACE)
    stack = _interpolated(root, reading) if root else None
    overlays = _overlays(stack, environment, reading)
    if given and stack is not None:
        found += reading.included(stack)
    aside = {os.path.realpath(path) for layer in overlays.values() for path in layer}
    base = [node for node in found if node is not root and os.path.realpath(node.place.source.path) not in aside]
    documents = _identified((_interpolated(node, reading) for node in base), reading)
    if stack is not None and (settings := _named(stack, reading)) is not None:
        documents[settings.ref] = settings
    chosen = overlays.get(environment or "", [])
    for layer in chosen:
        _lay_over(documents, reading.overlay(layer), reading, only_known=not given)
    for path in aside.difference(map(os.path.realpath, chosen)):
        reading.inputs.pop(path, None)
    if not base and not given and not reading.faults:
        name = paths[0] if paths else files.shown(next(iter(reading.inputs)))
        where = Place(Source(name, folder), 1, 1)
        reading.fault(where.fault("empty-input", "no document", hint="write a resource, or name another file with -f"))
    return _assembled(documents, reading, folder, lock.path_of(manifest, environment))


@dataclass
class _Reading:
    """What reading has come across so far: faults, the digest of every input, the documents of every file."""

    environ: Mapping[str, str]
    faults: list[Diagnostic] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    documents: dict[str, list[Node]] = field(default_factory=dict)
    broken: bool = False
    """True once something could not be read: what it declares is unknown, so references are not checked."""

    def fault(self, fault: Diagnostic) -> None:
        self.faults.append(fault)

    def unreadable(self, fault: Diagnostic) -> None:
        self.faults.append(fault)
        self.broken = True

    def seen(self, path: str, data: bytes) -> None:
        self.inputs[path] = hashlib.sha256(data).hexdigest()

    def file(self, path: str) -> list[Node]:
        """The documents of a file; none when it was read before. Raises UsageError."""
        return [] if os.path.realpath(path) in self.documents else self.overlay(path)

    def overlay(self, path: str) -> list[Node]:
        """The documents of a file, whether or not it was read before. Raises UsageError."""
        real = os.path.realpath(path)
        if real not in self.documents:
            try:
                data = files.read_at_most(path, source.MAX_FILE_BYTES)
            except OSError as error:
                hint = "name a file that can be read"
                raise UsageError(f"{files.shown(path)}: {error.strerror}", hint=hint) from error
            self.seen(real, data)
            self.documents[real] = source.read(data, files.shown(path), os.path.abspath(path), self.unreadable)
        return self.documents[real]

    def named(self, paths: Sequence[str], stdin: TextIO | None) -> list[Node]:
        """The documents of what the command line names. Raises UsageError."""
        if not paths:
            above = files.workspace_above(os.getcwd())
            if above is None:
                hint = "name the manifests with -f, or write one with:\n  nexusctl init"
                raise UsageError("no nexus.yaml here or in a folder above", hint=hint)
            return self.file(above)
        named: list[Node] = []
        for path in paths:
            if path == "-":
                named += self.standard_input(stdin)
                continue
            found = files.expand(path)
            if not found and not os.path.isdir(path):
                raise UsageError(f"{path}: no such file", hint="-f takes a file, a folder, a glob in quotes, or -")
            for one in found:
                named += self.file(one)
        return named

    def standard_input(self, stdin: TextIO | None) -> list[Node]:
        if stdin is None:
            raise UsageError("- was given, but there is no standard input")
        binary = getattr(stdin, "buffer", None)
        limit = source.MAX_FILE_BYTES + 1
        data: bytes = binary.read(limit) if binary else stdin.read(limit).encode("utf-8", "surrogatepass")
        self.seen(STDIN, data)
        return source.read(data, STDIN, os.path.join(os.getcwd(), STDIN), self.unreadable)

    def included(self, stack: Node) -> list[Node]:
        """The documents of the Stack's `include`."""
        items = _texts(at(stack, "spec", "include"))
        return [node for item in items for path in self.paths(item, "spec.include") for node in self.file(path)]

    def paths(self, item: Scalar, where: str) -> list[str]:
        """The files that a path in a manifest means; a fault when there are none."""
        folder = item.place.source.folder
        found = files.expand(os.path.join(folder, os.path.expanduser(item.text)))
        if not found:
            hint = f"the path is relative to the manifest, that is to {folder}"
            self.unreadable(item.place.fault("include-not-found", item.text, path=where, hint=hint))
        return found


def _texts(node: Node | None) -> list[Scalar]:
    return [item for item in node.items if isinstance(item, Scalar)] if isinstance(node, nodes.Sequence) else []


def _stack_document(named: list[Node], reading: _Reading) -> tuple[Node | None, bool]:
    """The Stack's document, and whether it is among `named`; else it is taken from the nearest `nexus.yaml`."""
    stacks = [node for node in named if _is_stack(node)]
    if stacks:
        # An environment's overlays may lie in the same folder and hold a Stack too: the base's is the outermost.
        return min(stacks, key=lambda node: node.place.source.path.count(os.sep)), True
    above = files.workspace_above(os.getcwd())
    found = reading.file(above) if above else []
    return next(filter(_is_stack, found), None), False


def _is_stack(node: Node) -> bool:
    kind = at(node, "kind")
    return isinstance(kind, Scalar) and kind.text == "Stack"


def _interpolated(node: Node, reading: _Reading) -> Node:
    return interpolate(
        node, reading.environ, reading.fault, lambda path, data: reading.seen(os.path.realpath(path), data)
    )


def _overlays(stack: Node | None, environment: str | None, reading: _Reading) -> dict[str, list[str]]:
    """The overlay files of every environment, in order. Raises UsageError when `environment` is not declared."""
    node = at(stack, "spec", "environments")
    declared = node.entries if isinstance(node, Map) else {}
    if environment is not None and environment not in declared:
        close = get_close_matches(environment, declared, n=1)
        known = ", ".join(sorted(declared)) or "none; declare it in the Stack's spec.environments"
        hint = f'did you mean "{close[0]}"?' if close else f"declared: {known}"
        raise UsageError(f'there is no environment "{environment}"', hint=hint)
    found: dict[str, list[str]] = {}
    for name, entry in declared.items():
        where = f"spec.environments.{name}.overlays"
        items = _texts(at(entry.node, "overlays"))
        found[name] = [path for item in items for path in reading.paths(item, where)]
    return found


def _identified(nodes: Iterable[Node], reading: _Reading) -> dict[Ref, Document]:
    documents: dict[Ref, Document] = {}
    for node in nodes:
        document = _named(node, reading)
        if document is None:
            continue
        if document.ref.kind == "Stack":
            reading.fault(
                document.name_place.fault("duplicate-stack", document.ref.name, hint="keep one Stack document")
            )
        elif first := documents.get(document.ref):
            detail = f"{document.ref} is first declared at {first.name_place.location}"
            hint = "rename one of them, or take one away"
            reading.fault(document.name_place.fault("duplicate-resource", detail, path="metadata.name", hint=hint))
            parse(document, reading.fault)  # its other faults
        else:
            documents[document.ref] = document
    return documents


def _named(node: Node, reading: _Reading) -> Document | None:
    """The document under its name; None where it has none, with the faults of its spec beside that of its name."""
    document = identify(node, reading.fault)
    if document is None:
        reading.broken = True
        if (other := nameless(node)) is not None:
            parse(other, reading.fault)
    return document


def _lay_over(documents: dict[Ref, Document], nodes: list[Node], reading: _Reading, *, only_known: bool) -> None:
    seen: dict[Ref, Place] = {}
    for node in nodes:
        document = identify(_interpolated(node, reading), reading.fault)
        if document is None:
            reading.broken = True
            continue
        ref, place = document.ref, document.name_place
        if ref in seen:
            detail = f"{ref} is first overlaid at {seen[ref].location}"
            reading.fault(place.fault("duplicate-resource", detail, path="metadata.name", hint="merge the two"))
            continue
        seen[ref] = place
        base = documents.get(ref)
        if base is not None:
            _fixed_by_base(document, reading)
            documents[ref] = Document(ref, overlay(base.node, document.node, KINDS[ref.kind].spec))
        elif ref.kind == "Stack":
            reading.fault(
                place.fault("duplicate-stack", ref.name, hint="an overlay's Stack has the name of the base's")
            )
        elif not only_known:
            documents[ref] = document


def _fixed_by_base(document: Document, reading: _Reading) -> None:
    for key in ("include", "environments"):
        if document.ref.kind == "Stack" and at(document.node, "spec", key) is not None:
            _, place = find(document.node, ("spec", key))
            reading.fault(place.fault("fixed-by-base", key, path=f"spec.{key}", hint="write it in the base's Stack"))


def _assembled(documents: Mapping[Ref, Document], reading: _Reading, folder: str, lock_path: str) -> Stack:
    declared: dict[Ref, Declared] = {}
    settings: Resource[StackSpec] | None = None
    for ref, document in sorted(documents.items()):
        resource = parse(document, reading.fault)
        if resource is None:
            continue
        if ref.kind == "Stack":
            settings = resource
            _, place = find(document.node, ("spec", "gateway", "listen"))
            check_settings(resource.spec, place, reading.fault)
        else:
            declared[ref] = Declared(document, resource)
    if not reading.broken:
        check(declared, documents.keys(), reading.fault)
    faults = tuple(dict.fromkeys(reading.faults))
    if any(fault.severity == "error" for fault in faults):
        raise ManifestError(faults)
    spec = settings.spec if settings else StackSpec()
    lock_faults: list[Diagnostic] = []
    locked = lock.read(lock_path, lock_faults.append, reading.seen)
    if locked is not None:
        models = [(ref.name, one.resource.spec, one.place) for ref, one in declared.items() if ref.kind == "Model"]
        lock.check(locked, models, lock_faults.append)
    return Stack(
        name=settings.metadata.name if settings else "default",
        settings=spec.model_copy(update={"include": [], "environments": {}}),
        resources={ref: one.resource for ref, one in declared.items()},
        inputs=tuple(sorted(Input(_input_path(path, folder), digest) for path, digest in reading.inputs.items())),
        base_dir=folder,
        locations={ref: document.name_place.location for ref, document in documents.items()},
        warnings=tuple(sorted(faults, key=lambda fault: fault.location)),
        lock=locked.lock if locked is not None else None,
        lock_path=lock_path,
        lock_faults=tuple(lock_faults),
    )


def _input_path(path: str, folder: str) -> str:
    return path if path == STDIN else os.path.relpath(path, os.path.realpath(folder))

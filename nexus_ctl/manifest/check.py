"""What only shows across documents: dangling references, circles, names that two things claim.

Called by `stack` with everything that parsed. The rule: a reference to something that was written but is itself faulty
is not reported again; one cause, one diagnostic.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nexus_ctl.engines import table as engines
from nexus_ctl.manifest.document import Document, nearest
from nexus_ctl.manifest.nodes import Faults, Path, Place, find, key_of
from nexus_ctl.resources.declared import dependencies, dotted, references
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import DEPENDS_ON, RENAMED_FROM, Ref, Resource
from nexus_ctl.resources.route import RouteSpec
from nexus_ctl.resources.stack import StackSpec


@dataclass(frozen=True, slots=True)
class Declared:
    """A resource with the document it was read from."""

    document: Document
    resource: Resource[Any]

    def place(self, path: Path) -> Place:
        return find(self.document.node, path)[1]


MOST_SUGGESTIONS = 100
"""Of names for dangling references: each compares with all there are, and after a hundred nobody reads them."""


def check(declared: Mapping[Ref, Declared], named: Collection[Ref], faults: Faults) -> None:
    """Hand over every fault between resources. `named` are all refs that were written, faulty ones included."""
    _references(declared, named, faults)
    _circles(declared, faults)
    _public_names(declared, faults)
    _renames(declared, named, faults)
    _engines(declared, faults)
    _files(declared, faults)
    _routes(declared, faults)


def _uses(one: Declared) -> Iterator[tuple[Path, Ref]]:
    for path, ref in references(one.resource.spec):
        yield ("spec", *path), ref
    for ref in one.resource.metadata.depends_on:
        yield ("metadata", "annotations", DEPENDS_ON), ref


def _references(declared: Mapping[Ref, Declared], named: Collection[Ref], faults: Faults) -> None:
    suggestions = MOST_SUGGESTIONS
    for one in declared.values():
        for path, ref in _uses(one):
            if ref not in named:
                detail = f'no {ref.kind} named "{ref.name}" in this stack'
                known = [other.name for other in named if other.kind == ref.kind] if suggestions else ()
                suggestions = max(suggestions - 1, 0)
                hint = nearest(ref.name, known)
                faults(one.place(path).fault("unknown-ref", detail, path=dotted(path), hint=hint))


def _circles(declared: Mapping[Ref, Declared], faults: Faults) -> None:
    """One diagnostic for each circle found walking in sorted order, at the reference that closes it."""
    after = {ref: sorted(dependencies(one.resource) & declared.keys()) for ref, one in declared.items()}
    done: set[Ref] = set()
    for start in sorted(declared):
        trail: list[Ref] = []
        on_trail: set[Ref] = set()
        todo: list[tuple[Ref, bool]] = [(start, False)]
        while todo:
            ref, leaving = todo.pop()
            if leaving:
                on_trail.discard(trail.pop())
                done.add(ref)
            elif ref in on_trail:
                circle = [*trail[trail.index(ref) :], ref]
                one = declared[trail[-1]]
                path = next(path for path, used in _uses(one) if used == ref)
                detail = " -> ".join(map(str, circle))
                hint = "take one of these references away"
                faults(one.place(path).fault("dependency-cycle", detail, path=dotted(path), hint=hint))
            elif ref not in done:
                trail.append(ref)
                on_trail.add(ref)
                todo.append((ref, True))
                todo.extend((needed, False) for needed in reversed(after[ref]))


def _public_names(declared: Mapping[Ref, Declared], faults: Faults) -> None:
    taken: dict[str, tuple[Ref, Place]] = {}
    for ref, one in declared.items():
        spec = one.resource.spec
        if not isinstance(spec, RouteSpec):
            continue
        own: Path = ("spec", "modelName") if spec.model_name else ("metadata", "name")
        names = [
            (own, spec.model_name or ref.name),
            *((("spec", "aliases", at), a) for at, a in enumerate(spec.aliases)),
        ]
        for path, name in names:
            place = one.place(path)
            if name in taken:
                other, first = taken[name]
                detail = f'"{name}" is already a name of {other} at {first.location}'
                hint = "give one of them another modelName or alias"
                faults(place.fault("duplicate-public-name", detail, path=dotted(path), hint=hint))
            else:
                taken[name] = (ref, place)


def _renames(declared: Mapping[Ref, Declared], named: Collection[Ref], faults: Faults) -> None:
    heirs: dict[Ref, Ref] = {}
    for ref, one in declared.items():
        former = one.resource.metadata.annotations.get(RENAMED_FROM)
        if former is None:
            continue
        old = Ref(ref.kind, former)
        path: Path = ("metadata", "annotations", RENAMED_FROM)
        if old in named:
            detail, hint = f"{old} is declared too", "take the old document away, or this annotation"
        elif old in heirs:
            detail, hint = f"{heirs[old]} is already renamed from {old}", "only one can be what it was"
        else:
            heirs[old] = ref
            continue
        faults(one.place(path).fault("renamed-still-declared", detail, path=dotted(path), hint=hint))


ABOUT_THE_VALUE = frozenset({"invalid-flag-value"})
"""Faults of a map's entry that its value has, not its key."""


def _engines(declared: Mapping[Ref, Declared], faults: Faults) -> None:
    """What each Deployment's engine finds wrong with its own part."""
    for one in declared.values():
        spec = one.resource.spec
        if not isinstance(spec, DeploymentSpec):
            continue
        for fault in engines.check(spec):
            path = _parts(fault.path)
            by_key = path[-2] in ("args", "env") and fault.code not in ABOUT_THE_VALUE
            place = key_of(one.document.node, path) if by_key else one.place(path)
            faults(place.fault(fault.code, fault.detail, path=fault.path, hint=fault.hint, severity=fault.severity))


def _parts(path: str) -> Path:
    """`spec.engine.llamaCpp.adapters[0].scale` as steps through the document."""
    return tuple(int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", path))


def _files(declared: Mapping[Ref, Declared], faults: Faults) -> None:
    """`file` chooses among the files of a hub repository; every other source gives one."""
    for one in declared.values():
        if not isinstance(one.resource.spec, DeploymentSpec):
            continue
        for path, ref in references(one.resource.spec):
            model = declared.get(ref)
            at: Path = ("spec", *(("engine", "llamaCpp") if path == ("model",) else path[:-1]), "file")
            if model is None or ref.kind != "Model" or model.resource.spec.source.hugging_face is not None:
                continue
            place = one.place(at)
            if find(one.document.node, at)[0] is not find(one.document.node, at[:-1])[0]:
                words = f"{ref} is a single file"
                hint = "leave it out"
                faults(place.fault("no-effect", words, path=dotted(at), hint=hint, severity="warning"))


def _routes(declared: Mapping[Ref, Declared], faults: Faults) -> None:
    """A Route with a preset, or with another backend that generates, is one for conversations."""
    vectors = {
        ref.name: isinstance(one.resource.spec, DeploymentSpec) and engines.makes_vectors(one.resource.spec)
        for ref, one in declared.items()
        if ref.kind == "Deployment"
    }
    for one in declared.values():
        spec = one.resource.spec
        if not isinstance(spec, RouteSpec):
            continue
        kinds = [vectors.get(backend.deployment) for backend in spec.backends]
        if spec.preset is None and False not in kinds:
            continue
        for at, backend in enumerate(spec.backends):
            if vectors.get(backend.deployment):
                path: Path = ("spec", "backends", at, "deployment")
                words = f"Deployment/{backend.deployment} serves vectors or scores, not answers"
                hint = "give it a Route of its own, without a preset"
                fault = one.place(path).fault(
                    "chat-to-vectors", words, path=dotted(path), hint=hint, severity="warning"
                )
                faults(fault)


def check_settings(settings: StackSpec, place: Place, faults: Faults) -> None:
    """The gateway may only listen where nothing outside this machine reaches it."""
    host, _, port = settings.gateway.listen.rpartition(":")
    path = "spec.gateway.listen"
    if not 0 < int(port) < 65536:
        faults(place.fault("out-of-range", f"port {port} is not one of 1 to 65535", path=path))
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        faults(place.fault("invalid-value", f"{host} is not an address", path=path))
        return
    if not loopback:
        hint = "listen on 127.0.0.1 and put an authenticating proxy in front, until an AccessPolicy guards it"
        faults(place.fault("listen-not-loopback", host, path=path, hint=hint))

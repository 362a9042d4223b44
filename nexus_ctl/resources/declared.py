"""The Stack: everything that is declared, loaded together. The unit of plan and apply, as a pure value.

`manifest.stack.load` makes it; planning, the controllers and the CLI read it. The rule: a Stack is whole. Every
reference in it leads to a resource of it, nothing depends on itself, and equal declarations make equal Stacks,
whatever files, order or spelling they were written in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from nexus_ctl.errors import Diagnostic, Location
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.field import Spec
from nexus_ctl.resources.lock import Lock
from nexus_ctl.resources.normal import Shape, shapes
from nexus_ctl.resources.stack import StackSpec


@dataclass(frozen=True, slots=True, order=True)
class Input:
    """One file that was read: its path relative to the stack's folder (`<stdin>` for standard input), its SHA-256."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Stack:
    """All resources by ref, sorted, and the workspace's settings.

    `settings` has `include` and `environments` left out: they tell how to load and are used up by loading. Two Stacks
    are equal when they declare the same; where they were read from does not count.
    """

    name: str
    settings: StackSpec
    resources: Mapping[Ref, Resource[Any]]
    inputs: tuple[Input, ...] = field(default=(), compare=False)
    base_dir: str = field(default="", compare=False)
    """Absolute folder of the Stack's manifest; the state directory is beside it."""
    locations: Mapping[Ref, Location] = field(default_factory=dict, compare=False)
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False)
    lock: Lock | None = field(default=None, compare=False)
    """What `nexus.lock` beside the manifest pins; None without one."""
    lock_path: str = field(default="", compare=False)
    """Where that file is, or would be."""
    lock_faults: tuple[Diagnostic, ...] = field(default=(), compare=False)
    """What is wrong with it, and what the manifests contradict; whoever changes the world refuses these."""


def references(spec: Spec) -> Iterator[tuple[tuple[str | int, ...], Ref]]:
    """Every reference a spec holds, with the path below `spec` that it stands at (`("backends", 0, "deployment")`)."""
    for shape in _referring(type(spec)):
        value = getattr(spec, shape.name)
        if shape.mark is not None and shape.mark.ref_kind:
            for path, text in _texts(value):
                yield (shape.key, *path), Ref(shape.mark.ref_kind, text)
        else:
            for path, inner in _specs(value):
                yield from (((shape.key, *path, *below), ref) for below, ref in references(inner))


def dotted(path: Iterable[str | int]) -> str:
    """`("spec", "backends", 0, "weight")` as people write it: `spec.backends[0].weight`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def models_of(spec: Spec) -> Mapping[str, str]:
    """The names of the Models that a spec refers to, by the path of the reference (`spec.engine.llamaCpp.draft.model`),
    in the order declared."""
    return {dotted(("spec", *path)): ref.name for path, ref in references(spec) if ref.kind == "Model"}


@cache
def _referring(spec: type[Spec]) -> tuple[Shape, ...]:
    """The fields that hold references, themselves or further down; few do."""
    return tuple(
        shape
        for shape in shapes(spec)
        if (shape.mark is not None and shape.mark.ref_kind) or (shape.nested is not None and _referring(shape.nested))
    )


def _texts(value: object) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield (), value
    elif isinstance(value, list | tuple):
        yield from (((at,), item) for at, item in enumerate(value))


def _specs(value: object) -> Iterator[tuple[tuple[str | int, ...], Spec]]:
    if isinstance(value, Spec):
        yield (), value
    elif isinstance(value, Mapping):
        yield from (((key,), item) for key, item in value.items() if isinstance(item, Spec))
    elif isinstance(value, list | tuple):
        yield from (((at,), item) for at, item in enumerate(value) if isinstance(item, Spec))


def dependencies(resource: Resource[Any]) -> frozenset[Ref]:
    """What `resource` needs Ready before it: its references and its `nexusctl/depends-on`."""
    return frozenset(ref for _, ref in references(resource.spec)) | frozenset(resource.metadata.depends_on)


def edges(stack: Stack) -> Mapping[Ref, frozenset[Ref]]:
    """The dependency graph: every resource's ref, sorted, to the refs it needs first."""
    return {ref: dependencies(resource) for ref, resource in stack.resources.items()}

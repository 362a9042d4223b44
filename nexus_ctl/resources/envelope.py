"""The envelope every resource wears (R1): `apiVersion`, `kind`, `metadata`, `spec`.

A `Ref` names a resource (`Model/qwen3`); a `Resource` is a ref with its normalised spec. `spec_hash` is the change
hash of R7: what is on a container's label, equal exactly when no replace-class field differs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

from nexus_ctl.resources.field import Spec
from nexus_ctl.resources.normal import digest, hashed, normalise

SpecT_co = TypeVar("SpecT_co", bound=Spec, covariant=True)

API_VERSION = "nexus/v1"
HASH_SCHEMA = 1
"""The N of `v<N>:<hash>`. Raise it only together with code that can still compute the old form."""

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""A resource name: an RFC 1123 label, so that it can be a container and DNS name."""

PROTECT = "nexusctl/protect"
DEPENDS_ON = "nexusctl/depends-on"
WAVE = "nexusctl/wave"
RENAMED_FROM = "nexusctl/renamed-from"
ADOPT = "nexusctl/adopt"
ANNOTATIONS = {
    PROTECT: "`delete`, `replace` or `all`: what nexusctl must refuse to do to this object",
    DEPENDS_ON: "comma-separated refs (`Model/a,Deployment/b`) that must be Ready first",
    WAVE: "integer, default 0; lower waves go first among otherwise unrelated objects",
    RENAMED_FROM: "the former name of this object; its replicas are kept",
    ADOPT: "the container that `apply --adopt=if-unowned` takes over as this Deployment's first replica",
}
"""The annotations of ours; an unknown `nexusctl/...` key is an error."""


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """The identity of a resource within its stack."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Ref:
        """From `Kind/name`. Raises ValueError."""
        kind, slash, name = text.partition("/")
        if not (kind and slash and name):
            raise ValueError(f"not a reference: {text!r} (write Kind/name)")
        return cls(kind, name)


@dataclass(frozen=True, slots=True)
class Metadata:
    """Name, labels (for selecting) and annotations (for instructing nexusctl)."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def protect(self) -> frozenset[str]:
        """What is forbidden to do to the object: subset of {delete, replace}."""
        word = self.annotations.get(PROTECT, "")
        return frozenset({"delete", "replace"} if word == "all" else {word} if word else ())

    @property
    def protect_words(self) -> str:
        """The canonical text of `protect`: sorted, comma-separated."""
        return ",".join(sorted(self.protect))

    @property
    def wave(self) -> int:
        return int(self.annotations.get(WAVE, "0"))

    @property
    def depends_on(self) -> tuple[Ref, ...]:
        text = self.annotations.get(DEPENDS_ON, "")
        return tuple(Ref.parse(part.strip()) for part in text.split(",") if part.strip())


@dataclass(frozen=True, eq=False)
class Resource(Generic[SpecT_co]):
    """One declared thing. Equal resources have equal normalised specs, however they were written."""

    kind: str
    metadata: Metadata
    spec: SpecT_co

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.metadata.name)

    @cached_property
    def normalised(self) -> dict[str, Any]:
        """The spec with defaults left out, sets sorted and quantities canonical: equal to the omitted form.

        Leaving defaults out, not filling them in, is what lets a new release add a field without a new hash.
        """
        return normalise(self.spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Resource):
            return NotImplemented
        return (self.kind, self.metadata, self.normalised) == (other.kind, other.metadata, other.normalised)

    def __hash__(self) -> int:
        return hash(self.ref)

    @cached_property
    def spec_hash(self) -> str:
        """`v1:<16 hex>` over the normalised fields that are in the hash."""
        return f"v{HASH_SCHEMA}:{digest(hashed(type(self.spec), self.normalised))}"

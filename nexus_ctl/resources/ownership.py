"""Ownership of what we made in the world (R8, R9): labels, and names that follow from what a thing is.

The labels are the truth about what exists and whose it is. A container without our instance label is not ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields

PREFIX = "nexusctl/"
MANAGED_BY = "nexusctl/managed-by"


@dataclass(frozen=True, slots=True)
class Ownership:
    """The labels of one replica, as a value.

    `instance` is the install (random per state directory), `set` the stack's name, `spec_hash` R7's hash, `spec` the
    canonical JSON of the normal form it was made from (no secret is ever in a spec), `model_digest` the identity of
    the model's bytes, `secrets_digest` a keyed HMAC, `placement` where it lies (`resources/placed.py`), `version` the
    nexusctl that made it. The last two never decide whether a replica is current.
    """

    instance: str
    set: str
    kind: str
    name: str
    replica: int
    spec_hash: str
    spec: str
    generation: int = 1
    model_digest: str = ""
    image_digest: str = ""
    secrets_digest: str = ""
    protected: str = ""
    placement: str = ""
    version: str = ""

    def labels(self) -> dict[str, str]:
        """As labels; empty values are left out."""
        pairs = {PREFIX + f.name.replace("_", "-"): str(getattr(self, f.name)) for f in fields(self)}
        return {MANAGED_BY: "nexusctl"} | {key: value for key, value in pairs.items() if value}

    def same_make(self, other: Ownership) -> bool:
        """Whether both name the same replica made from the same: what an interrupted create may have left."""
        return all(getattr(self, name) == getattr(other, name) for name in _MAKE)

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> Ownership | None:
        """From labels; None when they are not ours or not whole."""
        if labels.get(MANAGED_BY) != "nexusctl":
            return None
        values = {f.name: labels.get(PREFIX + f.name.replace("_", "-"), "") for f in fields(cls)}
        try:
            numbers = {"replica": int(values["replica"]), "generation": int(values["generation"] or "1")}
        except ValueError:
            return None
        if not all(values[key] for key in ("instance", "set", "kind", "name", "spec_hash")):
            return None
        return cls(**(values | numbers))  # type: ignore[arg-type]  # every field is a str but the two numbers


_MAKE = ("instance", "set", "kind", "name", "replica", "spec_hash", "model_digest", "image_digest", "secrets_digest")


def replica_name(set_name: str, deployment: str, index: int, *identity: str) -> str:
    """`<set>-<deployment>-<index>-<hash8>`; the hash is over everything that makes the replica what it is."""
    hash8 = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:8]
    return f"{set_name}-{deployment}-{index}-{hash8}"

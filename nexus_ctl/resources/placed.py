"""Where one replica lies, as it is carried from the plan to the launch and, as a label, into the world.

The label is the truth about what a living replica was given (R8): losing the store changes no placement, and a replica
stays where it is until it is made anew. It names no address and is in no hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from nexus_ctl.resources.memory import HOST
from nexus_ctl.resources.normal import canonical_json


@dataclass(frozen=True, slots=True)
class Placed:
    """`option` is the way it runs, in words; `claims` the bytes counted on, by device id and `HOST`.

    `devices` are the ids in the order in which the engine sees them; none = on the host alone.
    """

    option: str = ""
    devices: tuple[str, ...] = ()
    claims: Mapping[str, int] = field(default_factory=dict)

    @property
    def host_bytes(self) -> int:
        """What is counted on in the machine's RAM."""
        return self.claims.get(HOST, 0)

    def label(self) -> str:
        """As a label's text; "" for a replica that nothing is counted on for."""
        if not self.claims:
            return ""
        return canonical_json({"option": self.option, "devices": list(self.devices), "claims": dict(self.claims)})

    @classmethod
    def from_label(cls, text: str) -> Placed | None:
        """From `label`'s text; None for an empty one, or one that cannot be read."""
        try:
            found = json.loads(text) if text else None
            if not isinstance(found, dict):
                return None
            claims = {str(place): int(size) for place, size in found["claims"].items()}
            return cls(str(found["option"]), tuple(map(str, found["devices"])), claims)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

"""Where one replica lies, as it is carried from the plan to the launch and, as a label, into the world.

The label is the truth about what a living replica was given (R8): losing the store changes no placement, and a replica
stays where it is until it is made anew. It names no address and is in no hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from nexus_ctl.resources.normal import canonical_json


@dataclass(frozen=True, slots=True)
class Placed:
    """`option` is the way it runs, in words; `claims` the bytes counted on, by device id and `HOST`.

    `devices` are the ids in the order in which the engine sees them; none = on the host alone. `key` is what its report
    of memory is kept under, `expected_bytes` what it is expected to report; "" and 0 where it reports nothing.
    """

    option: str = ""
    devices: tuple[str, ...] = ()
    claims: Mapping[str, int] = field(default_factory=dict)
    key: str = ""
    expected_bytes: int = 0

    def label(self) -> str:
        """As a label's text; "" for a replica that nothing is counted on for."""
        if not self.claims:
            return ""
        report = {"key": self.key, "expected": self.expected_bytes} if self.key else {}
        told = {"option": self.option, "devices": list(self.devices), "claims": dict(self.claims)}
        return canonical_json(told | report)

    @classmethod
    def from_label(cls, text: str) -> Placed | None:
        """From `label`'s text; None for an empty one, or one that cannot be read."""
        try:
            found = json.loads(text) if text else None
            if not isinstance(found, dict):
                return None
            claims = {str(place): int(size) for place, size in found["claims"].items()}
            report = (str(found.get("key", "")), int(found.get("expected", 0)))
            return cls(str(found["option"]), tuple(map(str, found["devices"])), claims, *report)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

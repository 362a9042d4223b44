"""What the engine's list leaves out of a container (limits, exit, start time), remembered for a short while.

Kept by `runtime.DockerRuntime.list`, so that looking at hundreds of unchanged containers is one call. The rule: details
are used again only while the list shows the same state, name and ports, for `KEPT_SECONDS` at most, and not after an
event told of the container; what was read before such an event is never kept after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nexus_ctl.clock import Clock
from nexus_ctl.resources.replica import ObservedReplica

KEPT_SECONDS = 30.0
"""R21's period of a full look."""


@dataclass
class Details:
    """Replicas by container id, each with the list row it belongs to and when it was read."""

    clock: Clock
    _kept: dict[str, tuple[object, float, ObservedReplica]] = field(default_factory=dict)
    _forgotten: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, row: Mapping[str, Any], read: Callable[[str], ObservedReplica | None]) -> ObservedReplica | None:
        """The replica behind a row of the list, read if need be; None when it went meanwhile."""
        key, face = row["Id"], _face(row)
        with self._lock:
            known, forgotten = self._kept.get(key), self._forgotten
        now = self.clock.monotonic()
        if known is not None and known[0] == face and now - known[1] < KEPT_SECONDS:
            return known[2]
        replica = read(key)
        with self._lock:
            if replica is not None and forgotten == self._forgotten:
                self._kept[key] = (face, now, replica)
        return replica

    def forget(self, runtime_id: str = "") -> None:
        """Read this container (all, by default) anew with the next list."""
        with self._lock:
            self._forgotten += 1
            if runtime_id:
                self._kept.pop(runtime_id, None)
            else:
                self._kept.clear()

    def keep_only(self, runtime_ids: Iterable[str]) -> None:
        """Drop what is no longer there."""
        with self._lock:
            self._kept = {key: self._kept[key] for key in runtime_ids if key in self._kept}


def _face(row: Mapping[str, Any]) -> object:
    """What a row shows, less the age in `Status` (`Exited (137) 2 hours ago`)."""
    ports = [(port.get("PrivatePort"), port.get("PublicPort")) for port in row["Ports"]]
    ended = row["Status"].partition(")")[0] if row["State"] == "exited" else ""
    return row["State"], row["Names"], ports, ended

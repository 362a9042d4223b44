"""The engine's events, as the feed of a Watch: only containers of this install, only what can matter.

Opened by `runtime.DockerRuntime.watch`. An engine replays at most 256 past events; the Watch asks for a relist after
every opening, so that is no loss. What was taken over bears no labels, and is added and dropped while a stream is open:
so the engine is asked for everybody's containers, and whose each is, is found out here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nexus_ctl.resources.ownership import PREFIX
from nexus_ctl.runtimes.docker import connection
from nexus_ctl.runtimes.docker.address import Address
from nexus_ctl.runtimes.docker.errors import translated
from nexus_ctl.runtimes.watch import SECOND, ReplicaEvent

ACTIONS = ("create", "start", "die", "oom", "kill", "stop", "destroy", "rename", "update", "pause", "unpause")
"""Health checks and exec make events of their own; nobody asks for those."""


class DockerFeed:
    """One open stream, on a connection of its own."""

    def __init__(
        self,
        address: Address,
        instance: str,
        since_ns: int,
        told: Callable[[str], None],
        is_adopted: Callable[[str, str], bool] = lambda _name, _id: False,
    ) -> None:
        """`since_ns` is wall time of the engine's machine; `told` hears each container's id before anybody else;
        `is_adopted` says of a name and an id whether it was taken over.

        Raises RuntimeUnreachable.
        """
        self._url = address.url
        self._instance = instance
        self._told = told
        self._is_adopted = is_adopted
        self._api = connection.connect(address)
        filters: dict[str, Any] = {"type": "container", "event": [*ACTIONS, *PODMANS]}
        try:
            with translated(self._url):
                self._stream = self._api.events(since=since_ns // SECOND, filters=filters, decode=True)
        except BaseException:
            self._api.close()
            raise

    def __iter__(self) -> Iterator[ReplicaEvent]:
        with translated(self._url):
            for event in self._stream:
                if self._is_ours(event["Actor"]):
                    self._told(event["Actor"]["ID"])
                    yield replica_event(event)

    def _is_ours(self, actor: Mapping[str, Any]) -> bool:
        instance = actor["Attributes"].get(f"{PREFIX}instance")
        if instance is not None:
            return bool(instance == self._instance)
        return self._is_adopted(actor["Attributes"].get("name", ""), actor["ID"])

    def close(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # the reader takes the same socket apart when it ends
            self._stream.close()
        self._api.close()


PODMANS = {"died": "die"}
"""What Podman's socket calls otherwise."""


def replica_event(event: Mapping[str, Any]) -> ReplicaEvent:
    """One event of the engine's API; `action` is its first word."""
    actor = event["Actor"]
    return ReplicaEvent(
        name=actor["Attributes"].get("name", ""),
        runtime_id=actor["ID"],
        action=PODMANS.get(word := event["Action"].partition(":")[0], word),
        at_ns=event["timeNano"],
    )

"""The ports of the routing table, of the gateway's own counters, and of the keys that engines ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from nexus_ctl.resources.routing import GatewayStatus, Table


class Routing(Protocol):
    """The table the gateway watches, and what the gateway says of itself."""

    def read(self) -> Table:
        """The present table; an empty one when there is none. A damaged file is put aside and read as empty."""
        ...

    def change(self, edit: Callable[[Table], Table]) -> Table:
        """Read, edit, write atomically with the next revision, and return what is there now. No write when equal."""
        ...

    def has_shared(self) -> bool:
        """Whether the table that the stacks of a folder once shared is this one's, or could be (see the adapter)."""
        ...

    def in_flight(self, replica: str) -> int | None:
        """Requests that the running gateway has open on a replica; None when no gateway answers.

        A replica counts as idle only once the gateway has loaded a table without it (see the adapter).
        """
        ...

    def counted(self) -> GatewayStatus | None:
        """What the running gateway tells of itself; None when none answers, or not in time."""
        ...


class Keys(Protocol):
    """The keys that engines ask for, by replica, where the gateway finds them too."""

    def put(self, replica: str, key: str) -> None:
        """Keep a replica's key. Raises Terminal where it cannot be kept in memory."""
        ...

    def drop(self, replica: str) -> None:
        """Forget it; none is no error."""
        ...

    def of(self, replica: str) -> str:
        """A replica's key; "" where there is none."""
        ...

    def all(self) -> Mapping[str, str]:
        """Every key by replica."""
        ...

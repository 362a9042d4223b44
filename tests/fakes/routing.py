"""FakeRouting: the routing table and a gateway's counters in memory. Deep-copyable, so a world can be forked."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from nexus_ctl.resources.routing import DeploymentCounters, GatewayStatus, Table

SINCE = 1_790_000_000.0
"""When the fake gateway started to count."""


class FakeRouting:
    """`Routing` without a file. Tests set what the gateway would say.

    `open_requests`: replica → requests open. `served`: what it counted, by deployment. `gateway_running`: whether it
    answers at all. `gateway_loads`: whether it takes up new tables; while it lags behind, no replica counts as idle.
    `shared_is_ours`: what `has_shared` says.
    """

    def __init__(self, table: Table | None = None) -> None:
        self.table = table or Table()
        self.writes = 0
        self.open_requests: dict[str, int] = {}
        self.served: dict[str, DeploymentCounters] = {}
        self.gateway_running = True
        self.gateway_loads = True
        self.shared_is_ours = True
        self._loaded = self.table

    def read(self) -> Table:
        """The present table."""
        return self.table

    def change(self, edit: Callable[[Table], Table]) -> Table:
        """As the file does it: next revision, no write when equal."""
        wanted = msgspec.structs.replace(edit(self.table), revision=self.table.revision)
        if wanted != self.table:
            self.table = msgspec.structs.replace(wanted, revision=self.table.revision + 1)
            self.writes += 1
        return self.table

    def has_shared(self) -> bool:
        """As the test says."""
        return self.shared_is_ours

    def in_flight(self, replica: str) -> int | None:
        """As the file does it: None without a gateway, never below 1 while the gateway lags behind."""
        if not self.gateway_running:
            return None
        if self.gateway_loads:
            self._loaded = self.table
        count = self.open_requests.get(replica, 0)
        return count if self._loaded == self.table else max(1, count)

    def counted(self) -> GatewayStatus | None:
        """As the gateway would tell; it counts since a fixed moment."""
        if not self.gateway_running:
            return None
        return GatewayStatus(
            self.table.revision, "", in_flight=self.open_requests, since=SINCE, deployments=self.served
        )


class FakeKeys:
    """`Keys` in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def put(self, replica: str, key: str) -> None:
        self.kept[replica] = key

    def drop(self, replica: str) -> None:
        self.kept.pop(replica, None)

    def of(self, replica: str) -> str:
        return self.kept.get(replica, "")

    def all(self) -> Mapping[str, str]:
        return dict(self.kept)

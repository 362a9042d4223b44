"""The connections to engines: idle ones by address, new ones when there is none.

Used by `exchange`; `upstream` gives connections back. The rule it keeps: an idle connection is not used after the
engine may have closed it. Time here is that of the last sweep: asking the clock costs a tenth of a request.
"""

from __future__ import annotations

import asyncio
import os

from api.gateway.choose import Endpoint
from api.gateway.upstream import Answer, Call, UpstreamConnection

IDLE_SECONDS = 3.0
"""An idle connection is closed by the first sweep after this; llama-server closes it after 5 s."""
CONNECT_SECONDS = 5.0


class Pool:
    """Idle connections by endpoint, and the count of connections ever opened (`opened`)."""

    def __init__(self) -> None:
        self.opened = 0
        self._now = asyncio.get_running_loop().time()
        self._idle: dict[tuple[str, int], list[UpstreamConnection]] = {}
        self._connecting: set[asyncio.Task[None]] = set()

    def call(self, endpoint: Endpoint, request: tuple[bytes, bytes], answer: Answer) -> Call:
        """Send `request` (its head, its body) to `endpoint`, over an idle connection where there is one."""
        call = Call(self, endpoint, request, answer)
        connection = self._take((endpoint.host, endpoint.port))
        if connection is not None:
            connection.carry(call)
        else:
            self.connect(call)
        return call

    def connect(self, call: Call) -> None:
        """Open a new connection for `call`, in the background."""
        task = asyncio.get_running_loop().create_task(self._connect(call))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, call: Call) -> None:
        address = (call.endpoint.host, call.endpoint.port)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(lambda: UpstreamConnection(self, address), *address)
        except TimeoutError:
            call.answer_failed("it did not accept a connection in time", sent=False)
        except OSError as error:
            call.answer_failed(_reason(error), sent=False)
        else:
            self.opened += 1
            if call.aborted:
                self.release(connection)
            else:
                connection.carry(call)

    def _take(self, address: tuple[str, int]) -> UpstreamConnection | None:
        """The idle connection used last, so that the others can expire."""
        idle = self._idle.get(address)
        while idle:
            connection = idle.pop()
            if not connection.closing:
                return connection
        return None

    def release(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next call."""
        connection.idle_since = self._now
        self._idle.setdefault(connection.address, []).append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """An idle connection is closed."""
        idle = self._idle.get(connection.address, [])
        if connection in idle:
            idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        self._now = now
        for address, idle in list(self._idle.items()):
            for connection in [c for c in idle if now - c.idle_since >= IDLE_SECONDS]:
                idle.remove(connection)
                connection.close()
            if not idle:
                del self._idle[address]

    def close(self) -> None:
        """Close every idle connection and give up those being opened."""
        for task in self._connecting:
            task.cancel()
        self.sweep(float("inf"))


def _reason(error: OSError) -> str:
    """What the system says; asyncio's own words for it hold an address that the reader has not asked for."""
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)

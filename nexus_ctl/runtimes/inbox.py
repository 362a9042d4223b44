"""Notices of several watches in one place, for the loop. One thread per watch; nothing here decides anything."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from nexus_ctl.clock import Clock
from nexus_ctl.runtimes.watch import Notice, Relist, Watch

TICK_SECONDS = 1.0
"""How often is asked whether to wake for another reason."""


class WatchInbox:
    """See `controllers.loop.Inbox`. A context manager; leaving it ends the watches."""

    def __init__(self, watches: Sequence[Watch], clock: Clock, woken: Callable[[], str]) -> None:
        """`woken` says why to look though no watch has told of anything; "" for no reason."""
        self._watches = watches
        self._clock = clock
        self._woken = woken
        self._notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()

    def wait(self, seconds: float) -> bool:
        end = self._clock.monotonic() + seconds
        while (left := end - self._clock.monotonic()) > 0:
            try:
                self._notices.put(self._notices.get(timeout=min(left, TICK_SECONDS)))
            except queue.Empty:
                if reason := self._woken():
                    self._notices.put(Relist(reason))
            else:
                return True
        return False

    def take(self) -> tuple[Notice, ...]:
        found: list[Notice] = []
        while not self._notices.empty():
            found.append(self._notices.get())
        return tuple(found)

    def __enter__(self) -> WatchInbox:
        for watch in self._watches:
            threading.Thread(target=self._read, args=(watch,), name="notices", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for watch in self._watches:
            watch.close()

    def _read(self, watch: Watch) -> None:
        for notice in watch:
            self._notices.put(notice)

"""Ends of processes, as the feed of a Watch: the kernel says when a supervisor has gone.

Opened by `runtime.ProcessRuntime.watch`. Nothing is asked while nothing ends, but once a second for replicas that are
new. A replica that begins and ends between two such looks is found by the listener's next full look.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from nexus_ctl.runtimes.process.liveness import supervisor_pid
from nexus_ctl.runtimes.watch import ReplicaEvent

NEW_SECONDS = 1.0
"""How often it looks for replicas that it does not watch yet; closing takes as long."""


class ProcessFeed:
    """The ends of the replicas below `root`, from now on."""

    def __init__(self, root: Path, names: Callable[[], Sequence[str]]) -> None:
        """What runs now is watched when this returns."""
        self._root = root
        self._names = names
        self._closed = threading.Event()
        self._waiter = select.poll()
        self._watched: dict[int, str] = {}
        self._watch_new()

    def __iter__(self) -> Iterator[ReplicaEvent]:
        try:
            while not self._closed.is_set():
                for handle, _ in self._waiter.poll(NEW_SECONDS * 1000):
                    self._waiter.unregister(handle)
                    os.close(handle)
                    yield ReplicaEvent(self._watched.pop(handle), "", "die", time.time_ns())
                self._watch_new()
        finally:
            for handle in self._watched:
                os.close(handle)

    def _watch_new(self) -> None:
        for name in set(self._names()) - set(self._watched.values()):
            handle = _handle(self._root / name)
            if handle is not None:
                self._watched[handle] = name
                self._waiter.register(handle, select.POLLIN)

    def close(self) -> None:
        self._closed.set()


def _handle(directory: Path) -> int | None:
    """A handle of the replica's supervisor, readable when it has ended; None where none runs."""
    pid = supervisor_pid(directory)
    if pid is None:
        return None
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        if supervisor_pid(directory) == pid:
            return handle
        os.close(handle)
    return None

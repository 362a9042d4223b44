"""Watching a runtime: events as hints where to look, and a call to look everywhere after every gap (R22).

The loop reads a Watch and enqueues keys; an event never carries a decision. The rule: whoever lists when told to
(`Relist`) and looks at what is named (`ReplicaEvent`) misses nothing. A stream is opened a little before the last event
seen, repeats are dropped, and every break, refusal or suspicious silence ends in a Relist once the runtime answers
again. `Relist` comes after the stream is open, so that nothing can happen between the list and the stream.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from nexus_ctl.clock import Clock, SystemClock
from nexus_ctl.errors import NexusError

SECOND = 10**9
OVERLAP_NS = 2 * SECOND
"""How far before the last event a stream is opened again."""
REMEMBERED = 1000
"""Events kept for telling repeats; more only when the overlap holds more."""
SILENCE_SECONDS = 70.0
"""After this long without an event the runtime is asked whether it lives."""
BACKOFF_SECONDS = (0.8, 30.0)
"""First and longest pause before another try."""
STEADY_SECONDS = 120.0
"""A stream that lasted this long starts the pauses anew."""


@dataclass(frozen=True, slots=True)
class ReplicaEvent:
    """Something happened to a replica. `action` is the runtime's word (`die`, `oom`, `start`); `at_ns` its time."""

    name: str
    runtime_id: str
    action: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Relist:
    """Anything may have happened: look at everything."""

    reason: str


Notice = ReplicaEvent | Relist


class Feed(Protocol):
    """An open stream of events. Ends when it breaks; `close` from another thread ends it too."""

    def __iter__(self) -> Iterator[ReplicaEvent]: ...

    def close(self) -> None: ...


class Watch:
    """Notices, for as long as nobody closes it. Iterate in one thread; close from any."""

    def __init__(
        self,
        open_feed: Callable[[int], Feed],
        answers: Callable[[], bool],
        *,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        """`open_feed(since_ns)` raises a NexusError while the runtime does not answer; `answers` asks it whether it
        does; `jitter` gives 0 to 1, the share of the full pause that is taken."""
        self._open_feed = open_feed
        self._answers = answers
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self._silence_seconds = silence_seconds
        self._closed = threading.Event()
        self._feed: Feed | None = None
        self._since_ns = int(self._clock.now().timestamp() * SECOND)

    def close(self) -> None:
        """End the iteration, soon."""
        self._closed.set()
        if self._feed is not None:
            self._feed.close()

    def __iter__(self) -> Iterator[Notice]:
        recent: dict[ReplicaEvent, None] = {}
        reason, failures = "the watch begins", 0
        while not self._closed.is_set():
            opened = self._clock.monotonic()
            try:
                feed = self._feed = self._open_feed(self._since_ns - OVERLAP_NS)
            except NexusError as error:
                reason = error.detail
            else:
                yield Relist(reason)
                for item in self._items(feed):
                    if isinstance(item, str):
                        reason = item
                    elif item not in recent:
                        recent[item] = None
                        self._since_ns = max(self._since_ns, item.at_ns)
                        if len(recent) > REMEMBERED:
                            recent = {event: None for event in recent if event.at_ns >= self._since_ns - OVERLAP_NS}
                        yield item
                failures = 0 if self._clock.monotonic() - opened > STEADY_SECONDS else failures
            self._closed.wait(self._jitter() * pause_seconds(failures))
            failures += 1

    def _items(self, feed: Feed) -> Iterator[ReplicaEvent | str]:
        """What the feed brings, then in words why it ended."""
        items: queue.SimpleQueue[ReplicaEvent | str] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(feed, items), name="watch", daemon=True)
        reader.start()
        try:
            while not self._closed.is_set():
                try:
                    item = items.get(timeout=self._silence_seconds)
                except queue.Empty:
                    if self._answers():
                        continue
                    item = "the runtime fell silent and does not answer"
                yield item
                if isinstance(item, str):
                    return
        finally:
            feed.close()
            reader.join(timeout=1)


def _read(feed: Feed, items: queue.SimpleQueue[ReplicaEvent | str]) -> None:
    reason = "the stream of events ended"
    try:
        for event in feed:
            items.put(event)
    except NexusError as error:
        reason = error.detail
    finally:
        items.put(reason)


def pause_seconds(failures: int) -> float:
    """The full pause after so many failures in a row: doubling up to the longest."""
    first, longest = BACKOFF_SECONDS
    return float(min(first * 2 ** min(failures, 16), longest))

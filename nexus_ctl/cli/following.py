"""The output of an object's replicas as it comes, across exchanges: what `logs -f` prints.

Each replica is read by a thread of its own into one queue; the caller's thread takes lines out, so that whatever goes
wrong (a reader that went away, Ctrl-C) happens there. The rule: a replica that is made while we follow is followed from
its first line, known by the runtime's own id, for one that is made anew bears the same name. It ends when nothing that
was seen goes on and nothing is about to start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from nexus_ctl.errors import NexusError, NotFound
from nexus_ctl.resources.replica import ObservedReplica, ReplicaState

if TYPE_CHECKING:
    from nexus_ctl.clock import Clock
    from nexus_ctl.runtimes.port import Runtime

LOOK_SECONDS = 0.5


def follow(
    runtime: Runtime, look: Callable[[], Sequence[ObservedReplica]], tail: int | None, clock: Clock
) -> Iterator[tuple[str, str]]:
    """Replica and line, one pair at a time; of the replicas that are there now only the last `tail` lines.

    Raises what the runtime raises, except that a replica is gone.
    """
    said: SimpleQueue[tuple[str, str] | NexusError | None] = SimpleQueue()

    def read(name: str, last: int | None) -> None:
        try:
            for line in runtime.logs(name, tail=last, follow=True):
                said.put((name, line))
        except NotFound:
            pass
        except NexusError as error:
            said.put(error)
        finally:
            said.put(None)

    followed: set[str] = set()
    reading, first, due = 0, True, clock.monotonic()
    while True:
        if clock.monotonic() >= due:
            due = clock.monotonic() + LOOK_SECONDS
            fresh = [one for one in look() if one.runtime_id not in followed]
            for one in (one for one in fresh if one.state is not ReplicaState.CREATED):
                followed.add(one.runtime_id)
                reading += 1
                Thread(target=read, args=(one.name, tail if first else None), daemon=True).start()
            first = False
            if not reading and not fresh:
                return
        try:
            item = said.get(timeout=LOOK_SECONDS)
        except Empty:
            due = clock.monotonic()
            continue
        if item is None:
            reading -= 1
            due = clock.monotonic()
        elif isinstance(item, NexusError):
            raise item
        else:
            yield item

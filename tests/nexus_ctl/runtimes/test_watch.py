"""A watch over scripted streams: repeats are dropped, every gap asks for a relist, closing ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import pytest

from nexus_ctl.errors import NexusError, RuntimeUnreachable
from nexus_ctl.runtimes.watch import OVERLAP_NS, REMEMBERED, SECOND, Feed, Relist, ReplicaEvent, Watch, pause_seconds
from tests.fakes.clock import FakeClock


def event(second: float, action: str = "die", name: str = "a") -> ReplicaEvent:
    return ReplicaEvent(name, f"id-{name}", action, int(second * SECOND))


class Script:
    """Streams to be opened one after the other: each a list of events, an error in place of the opening or at the end,
    or `...`, which waits until it is closed."""

    def __init__(self, *streams: Sequence[object] | NexusError) -> None:
        self.streams = list(streams)
        self.opened: list[int] = []
        self.begun = threading.Event()

    def open(self, since_ns: int) -> Feed:
        self.opened.append(since_ns)
        self.begun.set()
        stream = self.streams.pop(0) if self.streams else [...]
        if isinstance(stream, NexusError):
            raise stream
        return ScriptedFeed(stream)


class ScriptedFeed:
    def __init__(self, items: Sequence[object]) -> None:
        self.items = items
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[ReplicaEvent]:
        for item in self.items:
            if isinstance(item, NexusError):
                raise item
            if isinstance(item, ReplicaEvent):
                yield item
            else:
                self.closed.wait(30)

    def close(self) -> None:
        self.closed.set()


def watching(script: Script, answers: Callable[[], bool] = lambda: True, silence_seconds: float = 30.0) -> Watch:
    return Watch(script.open, answers, clock=FakeClock(), jitter=lambda: 0.0, silence_seconds=silence_seconds)


def test_begins_with_a_relist_and_names_what_happens() -> None:
    watch = watching(Script([event(1), event(2, "start")]))
    assert list(islice(watch, 3)) == [Relist("the watch begins"), event(1), event(2, "start")]


def test_a_broken_stream_is_a_gap_and_its_repeats_are_dropped() -> None:
    base = FakeClock().now().timestamp()
    first, second, third = (event(base + n) for n in (1, 2, 3))
    script = Script([first, second], [first, second, third])
    seen = list(islice(watching(script), 5))
    assert seen == [
        Relist("the watch begins"),
        first,
        second,
        Relist("the stream of events ended"),
        third,
    ]
    assert script.opened == [int(base * SECOND) - OVERLAP_NS, second.at_ns - OVERLAP_NS]


def test_the_same_act_at_another_time_or_on_another_replica_is_no_repeat() -> None:
    events = [event(1), event(2), event(2, name="b")]
    assert list(islice(watching(Script(events)), 4))[1:] == events


def test_a_runtime_that_does_not_answer_is_tried_again_without_relist_in_between() -> None:
    down = RuntimeUnreachable("connection refused")
    script = Script([event(1)], down, down, down, [event(5)])
    assert list(islice(watching(script), 4)) == [
        Relist("the watch begins"),
        event(1),
        Relist("connection refused"),
        event(5),
    ]


def test_an_error_inside_the_stream_is_a_gap() -> None:
    script = Script([event(1), RuntimeUnreachable("cut in the middle")], [event(2)])
    assert list(islice(watching(script), 4))[2:] == [Relist("cut in the middle"), event(2)]


def test_silence_of_a_runtime_that_answers_is_no_gap() -> None:
    asked = threading.Event()

    def answers() -> bool:
        if asked.is_set():
            watch.close()
        asked.set()
        return True

    watch = watching(Script([event(1), ...]), answers, silence_seconds=0.01)
    assert list(watch) == [Relist("the watch begins"), event(1)]


def test_silence_of_a_runtime_that_does_not_answer_is_a_gap() -> None:
    script = Script([...], [event(2)])
    seen = list(islice(watching(script, lambda: False, silence_seconds=0.01), 3))
    assert seen == [
        Relist("the watch begins"),
        Relist("the runtime fell silent and does not answer"),
        event(2),
    ]


@pytest.mark.parametrize("items", [[...], [event(1), ...], RuntimeUnreachable("down")])
def test_close_from_another_thread_ends_it(items: Sequence[object] | NexusError) -> None:
    script = Script(items)
    watch = watching(script)
    seen: list[object] = []
    reader = threading.Thread(target=lambda: seen.extend(watch))
    reader.start()
    assert script.begun.wait(30)
    watch.close()
    reader.join(30)
    assert not reader.is_alive()
    assert event(2) not in seen


def test_what_is_remembered_for_telling_repeats_stays_small() -> None:
    many = [event(second) for second in range(REMEMBERED + 10)]
    seen = list(islice(watching(Script(many, [many[-1], event(REMEMBERED + 10)])), len(many) + 3))
    assert seen[len(many) + 1 :] == [Relist("the stream of events ended"), event(REMEMBERED + 10)]


def test_pauses_double_up_to_the_longest() -> None:
    assert [pause_seconds(n) for n in range(7)] == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert pause_seconds(10_000) == 30.0

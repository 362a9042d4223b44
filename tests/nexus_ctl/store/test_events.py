"""Events are counted, combined, cut and aged; watching from an id misses nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from nexus_ctl.resources.envelope import Ref
from nexus_ctl.store.events import COMBINED, SWEEP_EVERY, EventLimits
from nexus_ctl.store.records import Event, EventType
from nexus_ctl.store.store import Store
from tests.fakes.clock import EPOCH, FakeClock

CHAT = Ref("Deployment", "chat")


def event(message: str = "up", *, reason: str = "Started", kind: EventType = "Normal", ref: Ref = CHAT) -> Event:
    return Event(kind, reason, message, "prod", ref, 1, "op1", "ann")


def messages(store: Store) -> list[tuple[str, int]]:
    return [(found.event.message, found.count) for found in store.events.read("prod")]


def test_the_same_again_counts_up(store: Store, clock: FakeClock) -> None:
    first = store.events.emit(event())
    assert first is not None
    assert (first.event, first.count, first.first, first.last) == (event(), 1, EPOCH, EPOCH)
    clock.advance(60)
    again = store.events.emit(event())
    assert again is not None
    assert (again.count, again.first, again.last) == (2, EPOCH, EPOCH + timedelta(seconds=60))
    assert store.events.read("prod") == (again,)
    clock.advance(601)
    store.events.emit(event())
    assert messages(store) == [("up", 2), ("up", 1)]


def test_another_generation_is_another_event(store: Store) -> None:
    store.events.emit(event())
    store.events.emit(Event("Normal", "Started", "up", "prod", CHAT, 2))
    assert messages(store) == [("up", 1), ("up", 1)]


def test_similar_events_are_combined(store: Store) -> None:
    for number in range(13):
        store.events.emit(event(f"replica {number}"))
    assert messages(store)[:10] == [(f"replica {number}", 1) for number in range(10)]
    assert messages(store)[10:] == [(COMBINED + "replica 12", 3)]
    store.events.emit(event("stopped", reason="Stopped"))
    assert messages(store)[11:] == [("stopped", 1)]


def test_a_torrent_is_cut_for_its_object_and_type_only(store: Store, clock: FakeClock) -> None:
    told = [store.events.emit(event()) for _ in range(30)]
    assert sum(kept is not None for kept in told) == 25
    assert messages(store) == [("up", 25)]
    assert store.events.emit(event("oom", kind="Warning")) is not None
    assert store.events.emit(event(ref=Ref("Model", "m"))) is not None
    clock.advance(299)
    assert store.events.emit(event()) is None
    clock.advance(2)
    assert store.events.emit(event()) is not None
    assert store.events.emit(event()) is None


def test_many_at_once_are_kept_as_one_after_the_other(clock: FakeClock, tmp_path: Path) -> None:
    told = [event("up"), event("up"), event("down"), *(event(f"replica {number}") for number in range(12)), event("up")]
    others = [event("x", ref=Ref("Model", f"m{number % 12}")) for number in range(20)]
    one_by_one, at_once = Store.open(tmp_path / "a.db", clock), Store.open(tmp_path / "b.db", clock)
    for store in (one_by_one, at_once):
        store.events.emit(event("up"))
    kept = tuple(one_by_one.events.emit(each) for each in [*told, *others])
    assert at_once.events.emit_all([*told, *others]) == kept
    assert at_once.events.read("prod") == one_by_one.events.read("prod")
    assert at_once.events.emit_all([]) == ()
    one_by_one.close()
    at_once.close()


def test_watching_sees_new_and_repeated_events_once(store: Store) -> None:
    store.events.emit(event("a"))
    store.events.emit(event("b"))
    last = store.events.read("prod")[-1].id
    assert store.events.read("prod", after=last) == ()
    store.events.emit(event("a"))
    store.events.emit(event("c"))
    news = store.events.read("prod", after=last)
    assert [(found.event.message, found.count) for found in news] == [("a", 2), ("c", 1)]


def test_events_of_one_object_or_set(store: Store) -> None:
    store.events.emit(event("a"))
    store.events.emit(event("b", ref=Ref("Model", "m")))
    store.events.emit(Event("Normal", "Started", "c", "other", CHAT))
    assert [found.event.message for found in store.events.read("prod", CHAT)] == ["a"]
    assert [found.event.message for found in store.events.read("prod")] == ["a", "b"]


def test_what_logs_hold_and_databases_refuse_is_replaced(store: Store) -> None:
    store.events.emit(event("a\0b\udc80"))
    store.events.emit(event("a\0b\udc80"))
    assert messages(store) == [("a\ufffdb?", 2)]


def test_old_and_surplus_events_go(url: str, clock: FakeClock, open_store: Callable[..., Store]) -> None:
    store = open_store(url, event_limits=EventLimits(similar=10_000, burst=10_000, keep_count=20))
    store.events.emit(event("old"))
    clock.advance(8 * 86_400)
    for number in range(1, SWEEP_EVERY):
        store.events.emit(event(f"{number}"))
    kept = [message for message, _ in messages(store)]
    assert kept == [f"{number}" for number in range(SWEEP_EVERY - 20, SWEEP_EVERY)]
    clock.advance(8 * 86_400)
    for _ in range(SWEEP_EVERY):
        store.events.emit(event("again"))
    assert messages(store) == [("again", SWEEP_EVERY)]

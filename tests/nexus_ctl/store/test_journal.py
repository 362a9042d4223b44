"""Effects are begun on the disk, ended with an audit line, and what a crash leaves is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from nexus_ctl.errors import Bug
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.observed import Timing
from nexus_ctl.store.records import AuditLine, Unfinished
from nexus_ctl.store.store import Store
from tests.fakes.clock import EPOCH, FakeClock

CHAT = Ref("Deployment", "chat")
WORK = Ref("Model", "tiny")


def begin(store: Store, seq: int, ref: Ref = CHAT, op_id: str = "op1") -> None:
    store.journal.begin(
        op_id, seq, set_name="prod", ref=ref, action='{"start":"a"}', actor="ann", command="nexusctl apply"
    )


def test_a_begun_effect_is_unfinished_until_it_ends(
    url: str, clock: FakeClock, open_store: Callable[[str], Store]
) -> None:
    store = open_store(url)
    begin(store, 1)
    begin(store, 2)
    store.close()
    store = open_store(url)
    left = [Unfinished("op1", seq, "prod", CHAT, '{"start":"a"}', "ann", "nexusctl apply", EPOCH) for seq in (1, 2)]
    assert store.journal.unfinished("prod") == tuple(left)
    assert store.journal.unfinished("other") == ()
    clock.advance(5)
    store.journal.done("op1", 1)
    store.journal.failed("op1", 2, "exit 137: Killed\0\ud800")
    assert store.journal.unfinished("prod") == ()
    first, second = store.journal.audit("prod")
    ended = EPOCH + timedelta(seconds=5)
    assert first == AuditLine(
        1, "op1", 1, "prod", CHAT, '{"start":"a"}', "ann", "nexusctl apply", EPOCH, ended, "done", ""
    )
    assert (second.outcome, second.error) == ("failed", "exit 137: Killed\ufffd?")


def test_what_was_not_begun_cannot_end_and_nothing_begins_twice(store: Store) -> None:
    begin(store, 1)
    with pytest.raises(Bug, match="op1/1 has begun already"):
        begin(store, 1)
    store.journal.done("op1", 1)
    with pytest.raises(Bug, match="op1/1 was never begun, or has ended already"):
        store.journal.failed("op1", 1, "late")
    assert [line.outcome for line in store.journal.audit("prod")] == ["done"]


def test_what_starting_and_leaving_took_lately(store: Store, clock: FakeClock) -> None:
    def effects(op_id: str, *timed: tuple[str, float]) -> None:
        for seq, (action, seconds) in enumerate(timed):
            store.journal.begin(op_id, seq, set_name="prod", ref=CHAT, action=action)
            clock.advance(seconds)
            store.journal.done(op_id, seq)

    effects("op1", ("StartReplica a", 1))
    assert store.journal.timings("prod") == {}
    effects("op2", ("StartReplica b", 1), ("Publish b", 2))
    assert store.journal.timings("prod") == {CHAT: Timing(3.0)}
    effects("op3", ("Withdraw b", 1), ("StopReplica b", 4), ("StartReplica c", 1), ("Publish c", 1))
    assert store.journal.timings("prod") == {CHAT: Timing(3.0, 5.0)}
    for number in range(5):
        effects(f"later{number}", ("StartReplica d", 0.5), ("Publish d", 0.5))
    assert store.journal.timings("prod") == {CHAT: Timing(1.0, 5.0)}
    assert store.journal.timings("other") == {}


def test_the_audit_trail_of_one_object(store: Store) -> None:
    for seq, ref in enumerate([CHAT, WORK, CHAT, CHAT]):
        begin(store, seq, ref)
        store.journal.done("op1", seq)
    assert [line.seq for line in store.journal.audit("prod", CHAT)] == [0, 2, 3]
    assert [line.seq for line in store.journal.audit("prod", limit=2)] == [2, 3]

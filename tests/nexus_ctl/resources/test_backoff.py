"""How ends in a row are counted, and how long the next try waits (R21)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_ctl.resources.backoff import Backoff, fold, pause_seconds
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.observed import ReplicaView
from nexus_ctl.resources.replica import Exit, Health, ObservedReplica, ReplicaState
from tests.fakes.clock import EPOCH

CHAT = Ref("Deployment", "chat")
OOM = Exit(137, 9, out_of_memory=True)


def running(started: float, health: Health = Health.READY) -> ReplicaView:
    at = EPOCH + timedelta(seconds=started)
    return ReplicaView(ObservedReplica("r", "id", None, ReplicaState.RUNNING, "http://x", started_at=at), health)


def ended(started: float, at: float, how: Exit = OOM) -> ReplicaView:
    there = running(started).replica
    end = EPOCH + timedelta(seconds=at)
    return ReplicaView(replace(there, state=ReplicaState.EXITED, address="", exit=how, ended_at=end))


def look(before: Backoff | None, view: ReplicaView, at: float) -> Backoff | None:
    now = EPOCH + timedelta(seconds=at)
    return fold(before, CHAT, view, now=now, min_healthy_seconds=10)


def ends(count: int) -> Backoff:
    """After so many ends in a row, one a second."""
    known = None
    for number in range(count):
        known = look(known, ended(number, number + 0.5), number + 0.6)
    assert known is not None
    return known


def test_nothing_is_remembered_of_what_never_ended() -> None:
    assert look(None, running(0), 5) is None


def test_the_first_end_is_healed_at_once_and_later_ones_wait_longer_and_longer() -> None:
    assert ends(1).next_at == ends(1).failed_at
    full = [2, 6, 18, 54, 162, 300, 300, 300]
    for failures, most in enumerate(full, start=2):
        assert 0.8 * most <= pause_seconds("r", failures) <= most
        assert ends(failures).next_at - ends(failures).failed_at == timedelta(seconds=pause_seconds("r", failures))


@given(st.text(min_size=1), st.integers(0, 10_000))
def test_a_pause_is_never_beyond_the_cap_and_equal_for_equal(name: str, failures: int) -> None:
    assert 0 <= pause_seconds(name, failures) <= 300
    assert pause_seconds(name, failures) == pause_seconds(name, failures)


def test_looking_twice_counts_once() -> None:
    once = look(None, ended(0, 1), 2)
    assert look(once, ended(0, 1), 500) is once


def test_a_run_that_stayed_ready_begins_anew_and_one_that_only_loaded_long_does_not() -> None:
    three = ends(3)
    ready = look(three, running(60), 100)
    assert ready is not None
    assert ready.ready_since == EPOCH + timedelta(seconds=100)
    assert look(ready, running(60), 105) is ready, "the first sight counts"
    well = look(ready, ended(60, 111), 112)
    assert well is not None
    assert well.failures == 1
    soon = look(ready, ended(60, 109), 112)
    assert soon is not None
    assert soon.failures == 4
    loading = look(three, running(60, Health.LOADING), 100)
    never = look(loading, ended(60, 600), 601)
    assert never is not None
    assert never.failures == 4


def test_an_end_in_the_future_is_another_clock() -> None:
    skewed = look(None, ended(0, 9_999), 2)
    assert skewed is not None
    assert skewed.failed_at == EPOCH + timedelta(seconds=2)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (OOM, "because it ran out of memory: lower contextSize or parallel slots, or raise spec.resources.memory"),
        (Exit(3), "because it ended by itself with exit code 3"),
        (Exit(139, 11), "because signal 11 ended it"),
        (Exit(127, error="no such device"), "because no such device"),
    ],
)
def test_words(how: Exit, said: str) -> None:
    known = replace(ends(4), exit=how)
    assert known.words(known.next_at - timedelta(seconds=40)) == f"restarted 3 times, next try in 40 s, {said}"
    assert known.words(known.next_at) == f"restarted 3 times, next try now, {said}"

"""Revisions: one per spec, newest number last, trimmed without losing the stable one. Rules checked on random walks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_ctl.resources.envelope import Ref
from nexus_ctl.store.records import Declaration
from nexus_ctl.store.store import Store
from tests.fakes.clock import EPOCH, FakeClock

CHAT = Ref("Deployment", "chat")


def declare(store: Store, number: int, cause: str = "apply") -> int:
    """Declare the spec of that number; its generation."""
    return store.objects.declare("prod", Declaration(CHAT, {"n": number}), cause=cause)[0].generation


def history(store: Store) -> list[tuple[int, int, int]]:
    """(number, generation, spec) of each revision."""
    found = store.history.revisions("prod", CHAT)
    return [(revision.number, revision.generation, revision.spec["n"]) for revision in found]


def test_going_back_renews_the_revision_of_that_spec(store: Store, clock: FakeClock) -> None:
    for number in (1, 2, 3):
        declare(store, number)
    store.history.mark_result("prod", CHAT, 1, "Succeeded", stable=True)
    clock.advance(60)
    declare(store, 1, cause="rollback")
    assert history(store) == [(2, 2, 2), (3, 3, 3), (4, 4, 1)]
    newest = store.history.revisions("prod", CHAT)[-1]
    assert (newest.cause, newest.created_at) == ("rollback", EPOCH + timedelta(seconds=60))
    assert newest.result == ""
    assert newest.stable_since == EPOCH


def test_results_are_noted_for_the_generation_they_belong_to(store: Store) -> None:
    declare(store, 1)
    declare(store, 2)
    assert store.history.mark_result("prod", CHAT, 2, "Failed")
    assert store.history.mark_result("prod", CHAT, 1, "Succeeded", stable=True)
    found = store.history.revisions("prod", CHAT)
    assert [(revision.result, revision.stable) for revision in found] == [("Succeeded", True), ("Failed", False)]
    declare(store, 1)
    assert not store.history.mark_result("prod", CHAT, 1, "Failed")
    assert store.history.mark_result("prod", CHAT, 3, "Failed")
    assert not store.history.revisions("prod", CHAT)[-1].stable


def test_the_history_is_trimmed_but_for_the_newest_stable_revision(url: str, open_store: Callable[..., Store]) -> None:
    store = open_store(url, history_limit=3)
    for number in range(1, 8):
        declare(store, number)
        if number in (1, 2):
            store.history.mark_result("prod", CHAT, number, "Succeeded", stable=True)
    assert history(store) == [(2, 2, 2), (5, 5, 5), (6, 6, 6), (7, 7, 7)]
    store.history.mark_result("prod", CHAT, 6, "Succeeded", stable=True)
    declare(store, 8)
    assert history(store) == [(6, 6, 6), (7, 7, 7), (8, 8, 8)]


def test_a_new_name_takes_the_place_of_a_forgotten_objects_history(store: Store) -> None:
    declare(store, 1)
    declare(store, 2)
    store.objects.forget("prod", CHAT)
    other = Ref("Deployment", "other")
    store.objects.declare("prod", Declaration(other, {"n": 9}), cause="apply")
    store.objects.rename("prod", other, CHAT)
    assert history(store) == [(1, 1, 9)]
    assert declare(store, 2) == 2


@pytest.mark.parametrize("limit", [1, 3])
@given(steps=st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["declare", "forget", "stable"])), max_size=25))
@settings(deadline=None, max_examples=60)
def test_the_rules_hold_on_every_walk(limit: int, steps: list[tuple[int, str]]) -> None:
    with Store.open("sqlite://", FakeClock(), history_limit=limit) as store:
        generation, current = 0, None
        for number, step in steps:
            before = store.revision()
            if step == "declare":
                expected = generation if current == number else generation + 1
                assert declare(store, number) == expected
                assert (store.revision() > before) == (current != number)
                generation, current = expected, number
            elif step == "forget":
                assert store.objects.forget("prod", CHAT) == (current is not None)
                current = None
            else:
                store.history.mark_result("prod", CHAT, generation, "Succeeded", stable=True)
            revisions = store.history.revisions("prod", CHAT)
            numbers = [revision.number for revision in revisions]
            assert numbers == sorted(set(numbers))
            assert len({revision.digest for revision in revisions}) == len(revisions) <= limit + 1
            assert [revision.generation for revision in revisions] == sorted(
                revision.generation for revision in revisions
            )
            if current is not None:
                assert revisions[-1].spec == {"n": current}
                assert revisions[-1].generation == generation

"""Placement: never over budget, deterministic, explained. Answers ollama #8430 (pin a model to a GPU)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.placement import quality
from nexus_ctl.placement.fit import fit
from nexus_ctl.resources.memory import HOST
from nexus_ctl.resources.placement import Assignment, Demand, Option, Placement, Room, Strategy, Verdict


def room(name: str, size: int) -> Room:
    return Room(name, size, size)


def whole(
    name: str, size: int, *, priority: int = 0, pins: tuple[str, ...] = (), strategy: Strategy = "pack"
) -> Demand:
    return Demand(name, (Option("whole", (size,)),), priority, frozenset(pins), strategy)


def where(placement: Placement) -> dict[str, str]:
    return {
        decision.demand: "+".join(sorted(decision.assignment.claims)) if decision.assignment else "-"
        for decision in placement.decisions
    }


THREE = (room("a", 10), room("b", 24), room("c", 16))


@pytest.mark.parametrize(
    ("demands", "expected"),
    [
        ((whole("x", 8),), {"x": "a"}),
        ((whole("x", 8, strategy="spread"),), {"x": "b"}),
        ((whole("x", 8, pins=("c",)),), {"x": "c"}),
        ((whole("x", 8, pins=("c",)), whole("y", 9, pins=("c",))), {"x": "-", "y": "c"}),
        ((whole("x", 25),), {"x": "-"}),
        ((whole("x", 24), whole("y", 24, priority=1)), {"x": "-", "y": "b"}),
        ((Demand("x", (Option("whole", (30,)), Option("two", (15, 15)))),), {"x": "b+c"}),
        ((Demand("x", (Option("two", (20, 9)),)),), {"x": "a+b"}),
        ((Demand("x", (Option("whole", (30,)), Option("3 of 9 layers", (9,), 20))),), {"x": "a+host"}),
    ],
)
def test_a_replica_goes_where_it_should(demands: Sequence[Demand], expected: dict[str, str]) -> None:
    assert where(fit(demands, THREE)) == expected


def test_the_host_is_a_room_like_any_other() -> None:
    places = (Room(HOST, 64, 48), room("a", 10))
    alone = Demand("x", (Option("on the host", (), 40),))
    beside = Demand("y", (Option("whole", (5,), 9),))
    assert where(fit((alone,), places)) == {"x": "host"}
    assert where(fit((alone, beside), places)) == {"x": "host", "y": "-"}


def test_the_stack_budget_bounds_all_rooms_together() -> None:
    placement = fit(
        (whole("x", 10), whole("y", 10)), THREE, (Assignment("z", "whole", {"c": 4}),), stack_budget_bytes=15
    )
    assert where(placement) == {"x": "a", "y": "-"}
    assert "raise the stack's memory budget by 9 bytes" in map(str, placement.decisions[1].remedies)


def test_one_replica_steps_aside_for_another() -> None:
    places = (room("a", 10), room("b", 10), room("c", 4))
    spread = whole("p", 4, pins=("b", "c"), strategy="spread")
    assert where(fit((spread,), places)) == {"p": "b"}
    assert where(fit((spread, whole("q", 10), whole("s", 10)), places)) == {"p": "c", "q": "a", "s": "b"}


def test_a_decision_says_why_and_what_would_help() -> None:
    places = (Room("a", 24, 20, others_bytes=3), Room("b", 24, 24, reserve_bytes=20), Room("c", 24, 24, lost=True),
              Room("d", 8, 8), Room("e", 30, 30))  # fmt: skip
    (decision,) = fit((whole("x", 23, pins=("a", "b", "c", "d")),), places).decisions
    assert decision.assignment is None
    assert {w.room: w.verdict for w in decision.weighed} == {
        "a": Verdict.SHORT, "b": Verdict.SHORT, "c": Verdict.LOST, "d": Verdict.SHORT, "e": Verdict.PINNED_ELSEWHERE,
    }  # fmt: skip
    assert str(decision.weighed[0]) == "a: 23 needed, 20 open, 3 missing"
    assert tuple(map(str, decision.remedies)) == (
        "free 3 bytes on a",
        "raise the budget of a by up to 3 bytes",
        "d is too small: 8 bytes in all",
        "b is too small: 24 bytes in all",
        "allow e",
    )


def test_a_pin_to_a_device_that_is_not_here_is_said() -> None:
    (decision,) = fit((whole("x", 1, pins=("GPU-9",)),), THREE).decisions
    assert "it is pinned to GPU-9; no such device is here" in map(str, decision.remedies)


def test_a_taken_room_is_told_from_one_that_would_do() -> None:
    (decision,) = fit((whole("x", 12),), THREE).decisions
    assert [(w.room, w.verdict) for w in decision.weighed] == [
        ("a", Verdict.SHORT), ("b", Verdict.FITS), ("c", Verdict.CHOSEN),
    ]  # fmt: skip
    assert decision.remedies == ()


NAMES = ("a", "b", "c", "d")
ROOMS = st.lists(st.integers(0, 40), min_size=1, max_size=4).map(
    lambda sizes: tuple(room(name, size) for name, size in zip(NAMES, sizes, strict=False))
)
OPTIONS = st.lists(
    st.builds(
        Option,
        st.sampled_from(["one", "other"]),
        st.lists(st.integers(1, 30), max_size=3).map(tuple),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda option: option.label,
).map(tuple)
DEMANDS = st.lists(
    st.builds(
        Demand,
        st.sampled_from([f"d{n}" for n in range(20)]),
        OPTIONS,
        st.integers(0, 2),
        st.frozensets(st.sampled_from(NAMES), max_size=2),
        st.sampled_from(["pack", "spread"]),
    ),
    max_size=9,
    unique_by=lambda demand: demand.name,
)


@settings(max_examples=400, deadline=None)
@given(DEMANDS, ROOMS, st.one_of(st.none(), st.integers(0, 60)), st.integers(0, 30))
def test_no_room_is_ever_overfilled(
    demands: list[Demand], places: tuple[Room, ...], budget: int | None, ram: int
) -> None:
    placement = fit(demands, (*places, room(HOST, ram)), (), budget)
    used: Counter[str] = Counter()
    by_name = {demand.name: demand for demand in demands}
    for decision in placement.decisions:
        if decision.assignment is None:
            assert decision.remedies or not any(option.total_bytes for option in by_name[decision.demand].options)
            continue
        demand = by_name[decision.demand]
        option = next(option for option in demand.options if option.label == decision.assignment.option)
        claims = [claim for name, claim in decision.assignment.claims.items() if name != HOST]
        assert sorted(claims) == sorted(option.claims)
        assert decision.assignment.claims.get(HOST, 0) == option.host_bytes
        assert not demand.pins or set(decision.assignment.claims) <= demand.pins | {HOST}
        used.update(decision.assignment.claims)
    sizes = {place.id: place.open_bytes for place in (*places, room(HOST, ram))}
    assert all(used[name] <= sizes[name] for name in used)
    assert placement.left_bytes == {name: size - used[name] for name, size in sizes.items()}
    assert budget is None or used.total() <= budget


@settings(max_examples=200, deadline=None)
@given(DEMANDS, ROOMS, st.randoms(use_true_random=False))
def test_the_order_of_the_arguments_changes_nothing(
    demands: list[Demand], places: tuple[Room, ...], chance: random.Random
) -> None:
    first = fit(demands, places)
    shuffled, turned = list(demands), list(places)
    chance.shuffle(shuffled)
    chance.shuffle(turned)
    assert fit(shuffled, turned) == first


@settings(max_examples=200, deadline=None)
@given(DEMANDS, ROOMS)
def test_lower_priorities_never_cost_higher_ones_their_place(demands: list[Demand], places: tuple[Room, ...]) -> None:
    top = [demand for demand in demands if demand.priority == 2]
    alone, among = where(fit(top, places)), where(fit(demands, places))
    assert {name: among[name] for name in alone} == alone


@settings(max_examples=200, deadline=None)
@given(DEMANDS.filter(bool), ROOMS, st.sampled_from(NAMES), st.integers(1, 40))
def test_more_room_never_turns_a_replica_away(
    demands: list[Demand], places: tuple[Room, ...], name: str, more: int
) -> None:
    larger = [room(p.id, p.total_bytes + more) if p.id == name else p for p in places]
    if not fit(demands[:1], places).unplaced:
        assert not fit(demands[:1], larger).unplaced


def test_a_few_demands_are_packed_as_well_as_they_can_be() -> None:
    shares = quality(400)
    assert shares[0] == 1, "of the bytes that an exact solver places"

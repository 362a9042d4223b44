"""Eviction: the least harmful set, and never one that may not go. Answers llama-swap #158 (evict by memory)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_ctl.placement.evict import evict
from nexus_ctl.placement.fit import fit
from nexus_ctl.resources.placement import Assignment, Demand, Option, Resident, Room

PLACES = (Room("a", 24, 24), Room("b", 24, 24))


def lying(name: str, room: str, size: int, *, priority: int = 0, idle: float = 0, kept: bool = False) -> Resident:
    return Resident(Assignment(name, "whole", {room: size}), priority, kept, idle)


def demand(size: int, priority: int = 5, pins: tuple[str, ...] = ()) -> Demand:
    return Demand("new", (Option("whole", (size,)),), priority, frozenset(pins))


@pytest.mark.parametrize(
    ("wanted", "residents", "victims"),
    [
        (demand(10), [lying("x", "a", 20)], ()),
        (demand(20), [lying("x", "a", 20), lying("y", "b", 20, priority=1)], ("x",)),
        (demand(20), [lying("x", "a", 20, idle=5), lying("y", "b", 20, idle=9)], ("y",)),
        (demand(20), [lying("x", "a", 20, idle=9, kept=True), lying("y", "b", 20)], ("y",)),
        (demand(20), [lying("x", "a", 10), lying("y", "a", 10), lying("z", "b", 20)], ("z",)),
        (demand(10), [lying("x", "a", 10), lying("y", "a", 14), lying("z", "b", 24)], ("x",)),
        (demand(20, pins=("a",)), [lying("x", "a", 10), lying("y", "a", 10), lying("z", "b", 20)], ("x", "y")),
    ],
)
def test_takes_the_least_harmful_set(wanted: Demand, residents: list[Resident], victims: tuple[str, ...]) -> None:
    found = evict(wanted, PLACES, residents)
    assert found is not None
    assert found.victims == victims


@pytest.mark.parametrize(
    ("wanted", "residents"),
    [
        (demand(25), []),
        (demand(20, priority=0), [lying("x", "a", 20), lying("y", "b", 20)]),
        (demand(20), [lying("x", "a", 20, kept=True), lying("y", "b", 20, priority=9)]),
    ],
)
def test_refuses_what_nobody_may_make_room_for(wanted: Demand, residents: list[Resident]) -> None:
    assert evict(wanted, PLACES, residents) is None


def test_spares_who_came_a_moment_ago() -> None:
    young = Resident(Assignment("x", "whole", {"a": 20}), resident_seconds=3)
    old = Resident(Assignment("y", "whole", {"b": 20}), resident_seconds=300)
    found = evict(demand(20), PLACES, [young, old], minimum_resident_seconds=60)
    assert found is not None
    assert found.victims == ("y",)


@pytest.mark.parametrize(
    ("residents", "victims"),
    [
        ([lying(f"r{n:02}", "a", 2, idle=n) for n in range(12)], ("r09", "r10", "r11")),
        ([lying(f"r{n:02}", "a", 2, priority=n % 4) for n in range(12)], ("r00", "r04", "r08")),
        ([lying(f"r{n:02}", "a", 1 if n < 11 else 12) for n in range(12)], ("r11",)),
    ],
    ids=["longest idle", "lowest priority", "one that is large enough"],
)
def test_of_more_than_can_be_tried_it_keeps_the_most_precious(
    residents: list[Resident], victims: tuple[str, ...]
) -> None:
    found = evict(demand(6, pins=("a",)), PLACES, residents)
    assert found is not None
    assert (found.victims, found.assignment.claims) == (victims, {"a": 6})


RESIDENTS = st.lists(
    st.builds(
        lambda name, room, size, priority, idle, kept: lying(name, room, size, priority=priority, idle=idle, kept=kept),
        st.sampled_from([f"r{n}" for n in range(16)]),
        st.sampled_from(["a", "b"]),
        st.integers(1, 3),
        st.integers(0, 3),
        st.integers(0, 9).map(float),
        st.booleans(),
    ),
    max_size=16,
    unique_by=lambda resident: resident.assignment.name,
)


@settings(max_examples=100, deadline=None)
@given(RESIDENTS, st.integers(1, 24), st.integers(0, 4))
def test_every_victim_is_needed_and_allowed(residents: list[Resident], size: int, priority: int) -> None:
    wanted = demand(size, priority)
    found = evict(wanted, PLACES, residents)
    free_to_go = {r.assignment.name for r in residents if not r.kept and r.priority < priority}
    if found is None:
        stay = [r.assignment for r in residents if r.assignment.name not in free_to_go]
        assert fit((wanted,), PLACES, stay).unplaced
        return
    assert set(found.victims) <= free_to_go
    for spared in found.victims:
        gone = set(found.victims) - {spared}
        stay = [r.assignment for r in residents if r.assignment.name not in gone]
        assert fit((wanted,), PLACES, stay).unplaced
    assert evict(wanted, PLACES, list(reversed(residents))) == found

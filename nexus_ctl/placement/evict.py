"""Who must go so that a demand fits: `evict(demand, rooms, residents)`, pure and deterministic.

Asked only after `fit` found no place, and before anything is stopped. Residents of the same or a higher priority, kept
ones and ones too young never go. Of all ways it takes the one that hurts least: the lowest priorities, then the
fewest replicas, then the longest idle, then the fewest bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

from nexus_ctl.errors import Bug
from nexus_ctl.placement.fit import fit
from nexus_ctl.resources.placement import Assignment, Demand, Eviction, Resident, Room

_EXHAUSTIVE = 10
"""Up to this many candidates every set is tried, beyond, all go and whoever need not is kept."""


def evict(
    demand: Demand,
    places: Sequence[Room],
    residents: Iterable[Resident],
    minimum_resident_seconds: float = 0.0,
    stack_budget_bytes: int | None = None,
) -> Eviction | None:
    """The least harmful set of residents whose going makes the demand fit; None when no set does.

    An empty set of victims means that it fits as it is.
    """
    everyone = sorted(residents, key=lambda resident: resident.assignment.name)
    candidates = [r for r in everyone if _may_go(r, demand, minimum_resident_seconds)]

    def place(victims: Sequence[Resident]) -> Assignment | None:
        gone = {victim.assignment.name for victim in victims}
        stay = [resident.assignment for resident in everyone if resident.assignment.name not in gone]
        return fit((demand,), places, stay, stack_budget_bytes).decisions[0].assignment

    if (as_it_is := place(())) is not None:
        return Eviction((), as_it_is)
    if place(candidates) is None:
        return None
    if len(candidates) <= _EXHAUSTIVE:
        sets = (s for count in range(1, len(candidates) + 1) for s in combinations(candidates, count))
        victims = min((s for s in sets if place(s) is not None), key=_harm)
    else:
        victims = _one_by_one(candidates, place)
    assignment = place(victims)
    if assignment is None:
        raise Bug(f"the victims chosen for {demand.name} do not make it fit")
    return Eviction(tuple(sorted(victim.assignment.name for victim in victims)), assignment)


def _may_go(resident: Resident, demand: Demand, minimum_resident_seconds: float) -> bool:
    return (
        not resident.kept
        and resident.priority < demand.priority
        and resident.resident_seconds >= minimum_resident_seconds
    )


def _one_by_one(
    candidates: Sequence[Resident], place: Callable[[Sequence[Resident]], Assignment | None]
) -> tuple[Resident, ...]:
    """Let everyone go, then keep whoever need not, the most precious first: no victim is superfluous."""
    victims = sorted(candidates, key=lambda r: (-r.priority, r.idle_seconds, r.assignment.name))
    for precious in tuple(victims):
        fewer = [victim for victim in victims if victim is not precious]
        if place(fewer) is not None:
            victims = fewer
    return tuple(victims)


def _harm(victims: Sequence[Resident]) -> tuple[object, ...]:
    """Smaller is better; names make it a total order."""
    return (
        max(victim.priority for victim in victims),
        len(victims),
        -min(victim.idle_seconds for victim in victims),
        sum(sum(victim.assignment.claims.values()) for victim in victims),
        [victim.assignment.name for victim in victims],
    )

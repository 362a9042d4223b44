"""Which replica goes where: `fit(demands, rooms)`, a pure and deterministic decision over bytes.

Demands are taken by priority, then the least free to choose, then the largest; each takes the first of its options
that fits, in the rooms its strategy prefers. Where nothing fits, one replica placed earlier in the same call may step
aside if it finds room elsewhere; a few demands on a few devices are packed in the best way there is. What is held
already is never moved: that is eviction, and asked for apart.
The rules it keeps: no room ever over its budget; the order of the arguments changes nothing; a demand of lower
priority never costs a higher one its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from nexus_ctl.placement import exact
from nexus_ctl.resources.memory import HOST
from nexus_ctl.resources.placement import (
    Assignment,
    Decision,
    Demand,
    Option,
    Placement,
    Remedy,
    RemedyKind,
    Room,
    Verdict,
    Weighed,
)


def fit(
    demands: Iterable[Demand],
    places: Iterable[Room],
    held: Iterable[Assignment] = (),
    stack_budget_bytes: int | None = None,
) -> Placement:
    """Decide over all demands at once. `held` stays where it is; `stack_budget_bytes` bounds all rooms together."""
    floor = _Floor(places, held, stack_budget_bytes)
    wanted = sorted(demands, key=lambda d: (-d.priority, len(d.pins) or len(floor.rooms), -_size(d), d.name))
    decisions: dict[str, Decision] = {}
    for _, peers in groupby(wanted, key=lambda demand: demand.priority):
        decisions |= _decide_peers(list(peers), floor)
    return Placement(
        decisions=tuple(
            Decision(name, floor.placed.get(name), decisions[name].weighed, decisions[name].remedies)
            for name in sorted(decisions)
        ),
        left_bytes={room: floor.left[room] for room in sorted(floor.left)},
    )


class _Floor:
    """Rooms being filled: what is left in each, and what this call has put where."""

    def __init__(self, places: Iterable[Room], held: Iterable[Assignment], budget: int | None) -> None:
        self.rooms = {room.id: room for room in sorted(places, key=lambda room: room.id)}
        self.left = {name: room.open_bytes for name, room in self.rooms.items()}
        self.placed: dict[str, Assignment] = {}
        self.demands: dict[str, Demand] = {}
        self.budget_left = budget
        for assignment in held:
            self._take(assignment, -1)

    def put(self, demand: Demand, assignment: Assignment) -> None:
        self.placed[demand.name], self.demands[demand.name] = assignment, demand
        self._take(assignment, -1)

    def lift(self, name: str) -> tuple[Demand, Assignment]:
        assignment = self.placed.pop(name)
        self._take(assignment, 1)
        return self.demands.pop(name), assignment

    def find(self, demand: Demand, option: Option) -> Assignment | None:
        """A place for one option, by the demand's strategy; None when there is none."""
        if self.budget_left is not None and option.total_bytes > self.budget_left:
            return None
        if option.host_bytes > self.left.get(HOST, option.host_bytes):
            return None
        free = sorted((self.left[name], name) for name in self.allowed(demand))
        chosen: dict[str, int] = {}
        for claim in sorted(option.claims, reverse=True):
            fitting = [name for left, name in free if left >= claim and name not in chosen]
            if not fitting:
                return None
            chosen[fitting[0] if demand.strategy == "pack" else fitting[-1]] = claim
        if option.host_bytes:
            chosen[HOST] = option.host_bytes
        return Assignment(demand.name, option.label, chosen)

    def allowed(self, demand: Demand) -> list[str]:
        """Devices a demand may use."""
        return [
            name
            for name, room in self.rooms.items()
            if name != HOST and not room.lost and (not demand.pins or name in demand.pins)
        ]

    def _take(self, assignment: Assignment, sign: int) -> None:
        for room, claim in assignment.claims.items():
            if room in self.left:
                self.left[room] += sign * claim
        if self.budget_left is not None:
            self.budget_left += sign * sum(assignment.claims.values())


def _decide_peers(peers: Sequence[Demand], floor: _Floor) -> dict[str, Decision]:
    """Place demands of one priority: in turn; where that leaves one out and they are few, in the best way there is."""
    decisions = {demand.name: _decide(demand, floor) for demand in peers}
    few = len(peers) <= exact.DEMANDS and len(floor.rooms) <= exact.DEVICES + 1
    if not few or all(demand.name in floor.placed for demand in peers):
        return decisions
    in_turn = {demand.name: floor.lift(demand.name)[1] for demand in peers if demand.name in floor.placed}
    best = exact.pack(peers, floor.left, floor.allowed, floor.budget_left)
    gained = sum(exact.worth(d) * ((d.name in best) - (d.name in in_turn)) for d in peers)
    packing = best if gained > 0 else in_turn
    for demand in peers:
        if demand.name in packing:
            floor.put(demand, packing[demand.name])
    return {demand.name: _explain(demand, floor) for demand in peers}


def _explain(demand: Demand, floor: _Floor) -> Decision:
    """The decision as it stands, weighed against what all others left."""
    taken = floor.placed.get(demand.name)
    if taken is None:
        last = min(demand.options, key=lambda option: option.total_bytes, default=Option("nothing", ()))
        weighed = _weigh(demand, last, floor, dict(floor.left), None)
        return Decision(demand.name, None, weighed, _remedies(demand, last, floor, weighed))
    option = next(option for option in demand.options if option.label == taken.option)
    before = {room: left + taken.claims.get(room, 0) for room, left in floor.left.items()}
    return Decision(demand.name, taken, _weigh(demand, option, floor, before, taken))


def _size(demand: Demand) -> int:
    return max((option.total_bytes for option in demand.options), default=0)


def _decide(demand: Demand, floor: _Floor) -> Decision:
    """Place one demand, or say why not. Changes `floor`."""
    for option in demand.options:
        before = dict(floor.left)
        found = floor.find(demand, option)
        if found is not None:
            floor.put(demand, found)
            return Decision(demand.name, found, _weigh(demand, option, floor, before, found))
    _step_aside(demand, floor)
    return _explain(demand, floor)


def _step_aside(demand: Demand, floor: _Floor) -> None:
    """Make room by moving one replica that this call placed before, of the same priority, if that is possible."""
    for option in demand.options:
        claim = max(option.claims, default=0)
        for name in sorted(floor.placed, key=lambda name: (sum(floor.placed[name].claims.values()), name)):
            if floor.demands[name].priority != demand.priority:
                continue
            allowed = floor.allowed(demand)
            if not any(floor.left[room] + floor.placed[name].claims.get(room, 0) >= claim for room in allowed):
                continue
            other, lain = floor.lift(name)
            found = floor.find(demand, option)
            if found is not None:
                floor.put(demand, found)
                again = next((place for o in other.options if (place := floor.find(other, o)) is not None), None)
                if again is not None:
                    floor.put(other, again)
                    return
                floor.lift(demand.name)
            floor.put(other, lain)


def _weigh(
    demand: Demand, option: Option, floor: _Floor, left: Mapping[str, int], taken: Assignment | None
) -> tuple[Weighed, ...]:
    """Every room held against the option's largest claim on it, the host against its own."""
    claim = max(option.claims, default=0)
    allowed = set(floor.allowed(demand))

    def verdict(room: Room, needed: int) -> Verdict:
        if taken is not None and room.id in taken.claims:
            return Verdict.CHOSEN
        if room.lost:
            return Verdict.LOST
        if room.id != HOST and room.id not in allowed:
            return Verdict.PINNED_ELSEWHERE
        return Verdict.FITS if left[room.id] >= needed else Verdict.SHORT

    weighed = []
    for name, room in floor.rooms.items():
        needed = option.host_bytes if name == HOST else claim
        if taken is not None and name in taken.claims:
            needed = taken.claims[name]
        if needed:
            weighed.append(Weighed(name, verdict(room, needed), left[name], needed))
    return tuple(weighed)


def _remedies(demand: Demand, option: Option, floor: _Floor, weighed: Sequence[Weighed]) -> tuple[Remedy, ...]:
    """What would make the smallest option fit, cheapest first."""
    found = []
    if floor.budget_left is not None and option.total_bytes > floor.budget_left:
        found.append(Remedy(RemedyKind.STACK_BUDGET, bytes=option.total_bytes - floor.budget_left))
    short = sorted((w for w in weighed if w.verdict is Verdict.SHORT), key=lambda w: (w.missing_bytes, w.room))
    for one in short:
        room = floor.rooms[one.room]
        if room.total_bytes - room.reserve_bytes < one.needed_bytes:
            found.append(Remedy(RemedyKind.TOO_SMALL, one.room, room.total_bytes))
            continue
        found.append(Remedy(RemedyKind.FREE, one.room, one.missing_bytes))
        if room.budget_bytes < room.total_bytes - room.others_bytes - room.reserve_bytes:
            found.append(Remedy(RemedyKind.BUDGET, one.room, one.missing_bytes))
    elsewhere = (w for w in weighed if w.verdict is Verdict.PINNED_ELSEWHERE)
    found += [Remedy(RemedyKind.ALLOW, w.room) for w in elsewhere if w.open_bytes >= w.needed_bytes]
    fitting = sum(w.verdict is Verdict.FITS and w.room != HOST for w in weighed)
    if len(option.claims) > 1 and fitting < len(option.claims):
        words = f"{len(option.claims)} devices are needed, {fitting} have room"
        found.append(Remedy(RemedyKind.MORE_ROOMS, words))
    if option.claims and not floor.allowed(demand):
        words = f"it is pinned to {', '.join(sorted(demand.pins))}; no such device is here" if demand.pins else ""
        found.append(Remedy(RemedyKind.MORE_ROOMS, words or "add a device"))
    return tuple(found)

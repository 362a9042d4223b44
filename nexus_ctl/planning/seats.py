"""Who gets which place, decided for all deployments at once before anything is stopped (R14).

Called once per plan, with what each deployment needs made or exchanged; the answer says of each where its replicas
come to lie and in which order they are exchanged, whom they evict, or why they cannot be. Pure and deterministic.
The rule: at no moment of carrying the plan out is a place over its budget. An exchange that is start-first holds the
old and the new one, a stop-first one the larger of both, and what leaves for other reasons is not counted on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from nexus_ctl.placement.evict import evict
from nexus_ctl.placement.fit import fit
from nexus_ctl.placement.llama_cpp.report import buffer_bytes
from nexus_ctl.planning.change import Verb
from nexus_ctl.planning.running import Run
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.memory import HOST
from nexus_ctl.resources.placed import Placed
from nexus_ctl.resources.placement import Assignment, Decision, Demand, Option, Resident, Room, Strategy

START_FIRST, STOP_FIRST = Verb.REPLACE_START_FIRST, Verb.REPLACE_STOP_FIRST


@dataclass(frozen=True, slots=True)
class Claimant:
    """One deployment's needs. `exchanges` are indices whose replica runs and gives way, with what that one holds (None
    where it is not known); `fresh` are indices at which nothing runs."""

    ref: Ref
    runs: tuple[Run, ...]
    strategy: Strategy = "pack"
    priority: int = 0
    pins: tuple[str, ...] = ()
    """The devices it is bound to, in the engine's order; none = any."""
    order: str = "auto"
    """auto | startFirst | stopFirst"""
    exchanges: Mapping[int, Placed | None] = field(default_factory=dict)
    fresh: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Seated:
    """Where one replica comes to lie, how it runs there, and the arithmetic behind that."""

    run: Run
    placed: Placed
    decision: Decision


@dataclass(frozen=True, slots=True)
class Seat:
    """What was decided for one deployment. `refused` says what does not fit; then nothing of it is changed."""

    exchange: Verb = STOP_FIRST
    why_stop_first: Decision | None = None
    """What kept the new one from standing beside the old; None when nothing did, or nobody asked."""
    seated: Mapping[int, Seated] = field(default_factory=dict)
    refused: Decision | None = None
    evicts: tuple[str, ...] = ()
    """Names of the replicas that go so that this deployment fits."""


def assign(
    claimants: Iterable[Claimant],
    rooms: Sequence[Room],
    held: Mapping[str, int],
    residents: Sequence[Resident] = (),
    total_bytes: int | None = None,
) -> Mapping[Ref, Seat]:
    """Seats by deployment, for those of which it is known how they run. `held` are this stack's bytes by place, those
    of the residents among them; `total_bytes` bounds the stack in all places together."""
    floor = _Floor(tuple(rooms), Counter(held), list(residents), total_bytes)
    wanted = sorted((c for c in claimants if c.runs), key=lambda c: (-c.priority, c.ref))
    seats: dict[Ref, Seat] = {}
    for _, group in groupby(wanted, key=lambda claimant: claimant.priority):
        peers = list(group)
        for claimant in peers:
            if claimant.exchanges:
                seats[claimant.ref] = _exchange(claimant, floor)
        for claimant, seat in _settle(peers, floor):
            before = seats.get(claimant.ref, Seat())
            seats[claimant.ref] = replace(
                before,
                seated={**before.seated, **seat.seated},
                refused=before.refused or seat.refused,
                evicts=seat.evicts,
            )
    return seats


@dataclass
class _Floor:
    """Rooms being filled. `held` is what may be taken at the same time, in the worst moment."""

    rooms: tuple[Room, ...]
    held: Counter[str]
    residents: list[Resident]
    total_bytes: int | None

    def find(self, demand: Demand, held: Mapping[str, int]) -> Decision:
        return fit((demand,), self.rooms, (Assignment("held", "", held),), self.total_bytes).decisions[0]


def _exchange(claimant: Claimant, floor: _Floor) -> Seat:
    """Beside the old ones where that fits, else in their stead, one index after the other."""
    why = None
    if claimant.order != "stopFirst":
        seated, failed = _in_turn(claimant, floor, beside=True)
        if failed is None:
            floor.held.update(_sum(one.placed.claims for one in seated.values()))
            return Seat(START_FIRST, None, seated)
        if claimant.order == "startFirst":
            return Seat(START_FIRST, None, {}, failed)
        why = failed
    seated, failed = _in_turn(claimant, floor, beside=False)
    if failed is not None:
        return Seat(STOP_FIRST, why, {}, failed)
    for index, one in seated.items():
        before = claimant.exchanges[index]
        former = before.claims if before is not None else one.placed.claims
        floor.held.update({place: max(0, size - former.get(place, 0)) for place, size in one.placed.claims.items()})
    return Seat(STOP_FIRST, why, seated)


def _in_turn(claimant: Claimant, floor: _Floor, *, beside: bool) -> tuple[dict[int, Seated], Decision | None]:
    """Every index in turn, as the roll-out will go; the first decision that found no place."""
    held, seated = Counter(floor.held), {}
    for index, before in sorted(claimant.exchanges.items()):
        former = Counter(before.claims) if before is not None else _sum([_first_claims(claimant)])
        if not beside:
            held = _less(held, former)
        decision = floor.find(_demand(claimant, index, beside=beside), held)
        one = _seated(claimant, decision)
        if one is None:
            return {}, decision
        seated[index] = one
        held.update(one.placed.claims)
        if beside:
            held = _less(held, former)
    return seated, None


def _settle(peers: Sequence[Claimant], floor: _Floor) -> Iterable[tuple[Claimant, Seat]]:
    """Places for what is not there yet, of one priority, all at once; where one finds none, lower priorities go."""
    owners = {f"{c.ref.name}/{index}": (c, index) for c in peers for index in c.fresh}
    demands = [_demand(claimant, index) for claimant, index in owners.values()]
    placement = fit(demands, floor.rooms, (Assignment("held", "", floor.held),), floor.total_bytes)
    seats = {c.ref: Seat() for c in peers if c.fresh}
    for decision in sorted(placement.decisions, key=lambda decision: decision.assignment is None):
        claimant, index = owners[decision.demand]
        seat = seats[claimant.ref]
        one = _seated(claimant, decision)
        if one is None:
            one, victims = _by_eviction(claimant, index, decision, floor)
            seat = replace(seat, evicts=tuple(sorted({*seat.evicts, *victims})))
        if one is None:
            seats[claimant.ref] = replace(seat, refused=seat.refused or decision)
            continue
        floor.held.update(one.placed.claims)
        seats[claimant.ref] = replace(seat, seated={**seat.seated, index: one})
    return [(claimant, seats[claimant.ref]) for claimant in peers if claimant.fresh]


def _by_eviction(
    claimant: Claimant, index: int, decision: Decision, floor: _Floor
) -> tuple[Seated | None, tuple[str, ...]]:
    lying = _sum(resident.assignment.claims for resident in floor.residents)
    others = Resident(Assignment("\0others", "", _less(floor.held, lying)), kept=True)
    found = evict(
        _demand(claimant, index),
        floor.rooms,
        [*floor.residents, others],
        stack_budget_bytes=floor.total_bytes,
    )
    if found is None:
        return None, ()
    going = {resident.assignment.name: resident for resident in floor.residents}
    for name in found.victims:
        floor.held = _less(floor.held, going[name].assignment.claims)
        floor.residents.remove(going[name])
    return _seated(claimant, replace(decision, assignment=found.assignment, remedies=())), found.victims


def _demand(claimant: Claimant, index: int, *, beside: bool = False) -> Demand:
    """What one replica wants. Beside an old one also the mapped weights should find room on the host."""
    options = tuple(
        Option(run.option.label, run.option.claims, run.host_bytes if beside else run.option.host_bytes)
        for run in claimant.runs
    )
    name = f"{claimant.ref.name}/{index}"
    return Demand(name, options, claimant.priority, frozenset(claimant.pins), claimant.strategy)


def _seated(claimant: Claimant, decision: Decision) -> Seated | None:
    """The devices in the engine's order: the i-th holds the i-th claim."""
    found = decision.assignment
    if found is None:
        return None
    run = next(run for run in claimant.runs if run.option.label == found.option)
    free = [place for place in found.claims if place != HOST]
    devices = []
    for claim in run.option.claims:
        device = next(place for place in free if found.claims[place] == claim)
        free.remove(device)
        devices.append(device)
    if claimant.pins:
        devices.sort(key=claimant.pins.index)
    host = {HOST: run.option.host_bytes} if run.option.host_bytes else {}
    claims = {device: found.claims[device] for device in devices} | host
    expected = buffer_bytes(run.estimate) if run.key else 0
    return Seated(run, Placed(run.option.label, tuple(devices), claims, run.key, expected), decision)


def _first_claims(claimant: Claimant) -> Mapping[str, int]:
    """What an old replica without a record is taken to hold on the host: as much as the new one."""
    return {HOST: claimant.runs[0].option.host_bytes}


def _sum(parts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total


def _less(held: Mapping[str, int], part: Mapping[str, int]) -> Counter[str]:
    """`held` without `part`. On the host this may go below nothing: what was never counted becomes free there."""
    rest = Counter(held)
    rest.subtract(part)
    return rest

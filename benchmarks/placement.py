"""How fast and how good placement is.

    python -m benchmarks.placement

Time of 1,000 deployments on 64 devices, then of the packing: bytes placed, against an exact solver on small cases.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence

from nexus_ctl.placement.fit import fit
from nexus_ctl.resources.placement import Demand, Option, Placement, Room

GIB = 1 << 30


def crowd(seed: int, count: int, devices: int) -> tuple[list[Demand], list[Room]]:
    """Demands of 1 to 40 GiB, some pinned, some split, on devices of 24 to 141 GiB, about as many as fit."""
    draw = random.Random(seed)
    places = [
        Room(f"GPU-{n:03}", size, size)
        for n, size in enumerate(draw.choices((24 * GIB, 80 * GIB, 141 * GIB), k=devices))
    ]
    total, share = sum(room.total_bytes for room in places), 0
    demands = []
    for number in range(count):
        size = draw.randint(GIB, 40 * GIB) * total // (count * 20 * GIB)
        share += size
        split = (Option("over 2 devices", (size // 2 + GIB // 4, size // 2 + GIB // 4)),) if draw.random() < 0.2 else ()
        pins = frozenset(draw.sample([room.id for room in places], 2)) if draw.random() < 0.1 else frozenset()
        options = (Option("whole", (size,)), *split)
        demands.append(Demand(f"d{number:04}", options, draw.randint(0, 3), pins, draw.choice(("pack", "spread"))))
    return demands, places


def placed_bytes(demands: Sequence[Demand], placement: Placement) -> int:
    """Bytes of the demands that found a place, counted by their first option."""
    out = set(placement.unplaced)
    return sum(demand.options[0].total_bytes for demand in demands if demand.name not in out)


def best_bytes(sizes: Sequence[int], capacities: Sequence[int]) -> int:
    """The most bytes that any assignment of whole items to bins places; exact, by search over distinct states."""
    states = {tuple(sorted(capacities)): 0}
    for size in sizes:
        after = dict(states)
        for left, done in states.items():
            for place, room in enumerate(left):
                if room >= size and (place == 0 or left[place - 1] != room):
                    key = tuple(sorted((*left[:place], room - size, *left[place + 1 :])))
                    after[key] = max(after.get(key, 0), done + size)
        states = after
    return max(states.values())


def small_case(seed: int) -> tuple[list[int], list[int]]:
    """Up to 8 items on up to 3 bins, tight: together about as large as the bins."""
    draw = random.Random(seed)
    capacities = [draw.randint(10, 40) for _ in range(draw.randint(1, 3))]
    return [draw.randint(1, 25) for _ in range(draw.randint(3, 8))], capacities


def quality(cases: int) -> list[float]:
    """Share of the exact solver's bytes that `fit` places, case by case, sorted."""
    shares = []
    for seed in range(cases):
        sizes, capacities = small_case(seed)
        demands = [Demand(f"d{n}", (Option("whole", (size,)),)) for n, size in enumerate(sizes)]
        places = [Room(f"r{n}", size, size) for n, size in enumerate(capacities)]
        best = best_bytes(sizes, capacities)
        if best:
            shares.append(placed_bytes(demands, fit(demands, places)) / best)
    return sorted(shares)


def main() -> None:
    """Print the figures."""
    times, placed = [], []
    for seed in range(10):
        demands, places = crowd(seed, 1000, 64)
        begin = time.process_time()
        placement = fit(demands, places)
        times.append(time.process_time() - begin)
        placed.append(1 - len(placement.unplaced) / len(demands))
        random.Random(seed).shuffle(demands)
        assert fit(demands, reversed(places)) == placement, "the order of the arguments changed the decision"
    print(f"1,000 deployments on 64 devices: processor time, median {1000 * statistics.median(times):.0f} ms,", end=" ")
    print(f"slowest {1000 * max(times):.0f} ms; {100 * statistics.mean(placed):.1f} % placed; same in any order")
    shares = quality(2000)
    exact = 100 * sum(share == 1 for share in shares) / len(shares)
    mean, low = 100 * statistics.mean(shares), 100 * shares[len(shares) // 100]
    print(f"against the exact solver, {len(shares)} small cases: as good in {exact:.1f} %, mean {mean:.2f} %,", end=" ")
    print(f"1st percentile {low:.1f} %, worst {100 * shares[0]:.1f} % of its bytes")


if __name__ == "__main__":
    main()

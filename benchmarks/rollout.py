"""What clients notice of changes: steady load on real containers across replacements, reloads and stop-first gaps.

    python -m tests.fixtures.private_engine -- python -m benchmarks.rollout [--engine model] [--requests 10000]

Start-first: `nexusctl apply` replaces the only replica and reloads the table again and again, in turns, while requests
come at a steady rate, half of them streams. Nothing may fail and no stream may be cut. Stop-first: the gap that a
client sees, from the first request that is refused to the first that is answered again, beside the gap that the plan
printed. `--engine chatter` (the default) computes nothing, so that the rate is the gateway's; `model` is llama.cpp with
the small real model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator, Sequence

from benchmarks.load import End, Request, ask, percentile, steady
from benchmarks.row import Row, table
from benchmarks.stage import ENGINES, HOST, Stage, private_engine, stage

REPLACEMENTS, RELOADS, GAPS = 10, 20, 5
RATES = {"chatter": 80.0, "model": 3.0}
TOKENS = {"chatter": 12, "model": 8}
LOOK_SECONDS = 0.01


async def soak(on: Stage, requests: int, per_second: float, tokens: int) -> Sequence[Row]:
    """Replacements and reloads under load, evenly spread over it."""
    done = asyncio.Event()
    load = asyncio.create_task(
        steady(HOST, on.port, per_second=per_second, at_least=requests, until=done, tokens=tokens)
    )
    changes = [on.reload, on.replace, on.reload] * REPLACEMENTS
    begun, spans = time.monotonic(), []
    for number, change in enumerate(changes):
        due = begun + requests / per_second * (number + 0.5) / len(changes)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        change()
        start = time.monotonic()
        await asyncio.to_thread(on.run, "apply", "--yes")
        if change == on.replace:
            spans.append((start, time.monotonic()))
    done.set()
    sent = await load
    during = [one for one in sent if any(a <= one.ended and one.sent <= b for a, b in spans)]
    ids = {id(one) for one in during}
    outside = [one for one in sent if id(one) not in ids]
    count = {end: sum(one.end is end for one in sent) for end in End}
    what = f"{len(changes) - REPLACEMENTS} reloads, {REPLACEMENTS} start-first replacements"
    return [
        Row(f"requests across {what}", len(sent), ""),
        Row("of these streams", sum(one.stream for one in sent), ""),
        Row("of these during a replacement", len(during), ""),
        Row("failed", count[End.FAILED], "", at_most=0),
        Row("cut", count[End.CUT], "", at_most=0),
        *latency("stream", [one for one in during if one.stream], [one for one in outside if one.stream]),
        *latency("request", [one for one in during if not one.stream], [one for one in outside if not one.stream]),
    ]


def latency(what: str, during: Sequence[Request], outside: Sequence[Request]) -> Iterator[Row]:
    """Median and 99th percentile in a replacement, beside those outside."""
    within, without = [one.milliseconds for one in during], [one.milliseconds for one in outside]
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        yield Row(
            f"{what} {name} during a replacement",
            percentile(within, share),
            "ms",
            "outside",
            percentile(without, share),
        )


async def gaps(on: Stage, count: int) -> Sequence[Row]:
    """Stop-first replacements: seen, usual and most, in seconds."""
    on.strategy = "stopFirst"
    on.write()
    on.run("apply", "--yes")
    seen, usual, most = [], [], []
    for _ in range(count):
        on.replace()
        plan = json.loads(on.run("plan", "-o", "json"))
        [told] = [action["gapSeconds"] for action in plan["actions"] if action["ref"] == "Deployment/chat"]
        usual.append(told["usual"])
        most.append(told["atMost"])
        seen.append(await one_gap(on))
    what = f"stop-first gap seen by a client, longest of {count}"
    return [
        Row(what, max(seen), "s", "usual by the plan", max(usual)),
        Row(what, max(seen), "s", "at most by the plan", min(most), ratio_at_most=1),
    ]


async def one_gap(on: Stage) -> float:
    """Seconds from the first refused request to the first answered one, during one apply."""
    apply = asyncio.create_task(asyncio.to_thread(on.run, "apply", "--yes"))
    asked: list[Request] = []
    while not apply.done() or asked[-1].end is not End.WHOLE:
        asked.append(await ask(HOST, on.port, stream=False, tokens=1))
        await asyncio.sleep(LOOK_SECONDS)
    await apply
    refused = [one for one in asked if one.end is not End.WHOLE]
    if not refused:
        raise RuntimeError("nothing was refused: no gap was seen")
    return next(one.ended for one in asked if one.sent > refused[-1].sent) - refused[0].sent


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", choices=ENGINES, default="chatter")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rate", type=float, help="requests per second")
    parser.add_argument("--gaps", type=int, default=GAPS, help="stop-first replacements")
    options = parser.parse_args()
    private_engine("rollout")
    rate = options.rate or RATES[options.engine]
    with stage(options.engine) as on:
        rows = [Row(f"rate of requests, engine {options.engine}", rate, "/s")]
        rows += asyncio.run(soak(on, options.requests, rate, TOKENS[options.engine]))
        rows += asyncio.run(gaps(on, options.gaps))
    print(table(rows))


if __name__ == "__main__":
    main()

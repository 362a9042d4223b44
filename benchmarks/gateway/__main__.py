"""`python -m benchmarks.gateway`: what the gateway costs, side by side with nginx and others in one run.

One core for the gateway under test, another for engine and load, both in C. Rounds are interleaved, so that a noisy
neighbour hits all alike; the table shows medians, and ratios to nginx, which hold across machines where the absolute
figures do not. Needs nginx, wrk and a C compiler (Debian: nginx-light wrk gcc libc6-dev).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.gateway import measure
from benchmarks.gateway.contenders import CONTENDERS, Contender

EVENTS = 64
Figures = dict[str, list[float]]

COLUMNS = (
    ("rps64", "req/s, 64 conn.", 1.0, "{:.0f}"),
    ("rps8", "req/s, 8 conn.", 1.0, "{:.0f}"),
    ("cpu", "CPU us/request", 1.0, "{:.1f}"),
    ("cpu100k", "CPU us/100 KB", 1.0, "{:.0f}"),
    ("p50_8", "p50 us, 8 conn.", 1.0, "{:.0f}"),
    ("p50_1", "p50 us, 1 conn.", 1.0, "{:.0f}"),
    ("stream", "CPU us/stream", 1.0, "{:.0f}"),
    ("chunk", "CPU us/event", 1.0, "{:.1f}"),
    ("ttft", "first event us", 1.0, "{:.0f}"),
    ("late", "event p99 us", 1.0, "{:.0f}"),
    ("broken", "broken", 1.0, "{:.0f}"),
    ("rss", "RSS MB", 1e-6, "{:.0f}"),
    ("start", "start s", 1.0, "{:.2f}"),
)
OWN_COST = ("cpu", "cpu100k", "stream", "chunk")
RATIOS = ("rps64", "rps8", *OWN_COST)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 0 when every request and stream of every contender was whole, else 1."""
    options = _parser().parse_args(arguments)
    chosen = [c for c in CONTENDERS if not c.optional or c.name in options.add]
    figures: dict[str, Figures] = {"direct": {}} | {c.name: {} for c in chosen}
    with tempfile.TemporaryDirectory(prefix="nexusctl-bench-") as directory:
        work = Path(directory)
        for program in ("engine", "streams"):
            measure.build(Path(__file__).with_name(f"{program}.c"), work / program)
        for number in range(options.rounds):
            _say(f"round {number + 1} of {options.rounds}")
            _round(work, chosen, figures, options)
    medians = {name: {key: statistics.median(values) for key, values in f.items()} for name, f in figures.items()}
    print(json.dumps(medians, indent=1) if options.json else _table(medians))
    return int(any(value["broken"] for value in medians.values()))


def _round(work: Path, chosen: list[Contender], figures: dict[str, Figures], options: argparse.Namespace) -> None:
    engine_port, *ports = measure.free_ports(1 + len(chosen))
    engine = [str(work / "engine"), str(engine_port), str(EVENTS), str(options.gap_ms)]
    with measure.running(engine, options.load_core, work / "engine.log") as process:
        measure.until_answers(engine_port, process, 10)
        _loaded(measure.Target(work, engine_port, None, options.load_core), figures["direct"], options, slow=False)
        for contender, port in zip(chosen, ports, strict=True):
            _say(f"  {contender.name}")
            mine = figures[contender.name]
            command = contender.command(work, engine_port, port)
            log = work / f"{contender.name}.log"
            with measure.running(command, options.gateway_core, log) as gateway:
                try:
                    _note(mine, start=measure.until_answers(port, gateway, 120))
                except TimeoutError as error:
                    raise SystemExit(f"{contender.name}: {error}\n{log.read_text(errors='replace')[-2000:]}") from error
                target = measure.Target(work, port, gateway, options.load_core)
                _loaded(target, mine, options, slow=contender.slow)
                _note(mine, rss=measure.memory_bytes(gateway))


def _loaded(target: measure.Target, figures: Figures, options: argparse.Namespace, *, slow: bool) -> None:
    """One contender's turn under every load."""
    seconds = options.seconds
    many, some, at_once = (8, 2, 8) if slow else (64, 8, options.streams)
    measure.load(target, some, 1)  # warm
    busy = measure.load(target, many, seconds)
    calm = measure.load(target, some, seconds)
    single = measure.load(target, 1, seconds)
    long = measure.load(target, some, seconds, prompt=100_000)
    flow = measure.streams(target, at_once, seconds * 2, EVENTS)
    failed = sum(part.failed for part in (busy, calm, single, long)) + flow.broken
    _note(
        figures,
        rps64=busy.requests / busy.seconds,
        rps8=calm.requests / calm.seconds,
        cpu=busy.cpu_us / busy.requests,
        cpu100k=long.cpu_us / max(long.requests, 1),
        p50_8=calm.p50_us,
        p50_1=single.p50_us,
        stream=flow.cpu_us / max(flow.events / EVENTS, 1),
        chunk=flow.cpu_us / max(flow.events, 1),
        ttft=flow.first_p50_us,
        late=flow.event_p99_us,
        broken=failed,
    )


def _note(figures: Figures, **values: float) -> None:
    for key, value in values.items():
        figures.setdefault(key, []).append(value)


def _table(medians: dict[str, dict[str, float]]) -> str:
    """The figures as text, with the ratio to nginx beneath where it says something."""
    names = list(medians)
    rows = [["", *names]]
    for key, title, unit, form in COLUMNS:
        values = {name: medians[name].get(key) for name in names if name != "direct" or key not in OWN_COST}
        rows.append([title, *(form.format(v * unit) if (v := values.get(name)) is not None else "-" for name in names)])
        if key in RATIOS:
            base = medians["nginx"][key]
            rows.append(["  x nginx", *(f"{v / base:.2f}" if (v := values.get(name)) else "-" for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    optional = [c.name for c in CONTENDERS if c.optional]
    parser.add_argument("--add", action="append", default=[], choices=optional, help="also measure (installs it once)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="length of one load")
    parser.add_argument("--streams", type=int, default=200, help="streams at a time")
    parser.add_argument("--gap-ms", type=int, default=20, help="time between two events of a stream")
    parser.add_argument("--gateway-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())

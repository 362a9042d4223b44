"""`python -m benchmarks [NAME...]`: the figures, in one table. Without a name the quick ones.

Benchmarks are no tests: a figure over its limit is marked, and the exit code stays 0. Those with a document of their
own (gateway, download, memory, placement, runtime, rates, rollout) print that; run as `python -m benchmarks.NAME` they
take options.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from benchmarks.row import Row, table


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: a module with `run() -> rows`, or, with `program`, one that prints its own figures when run so."""

    what: str
    quick: bool = False
    program: tuple[str, ...] = ()


ALONE = (sys.executable, "-m")
BESIDE_AN_ENGINE = (*ALONE, "tests.fixtures.private_engine", "--", *ALONE)
BENCHMARKS = {
    "cli": Benchmark("CPU of --help, version and validate, beside the interpreter alone", quick=True),
    "plan": Benchmark("CPU of planning 1,000 and 10,000 resources, and of finding nothing to do", quick=True),
    "journal": Benchmark("time of a journalled effect, beside bare SQLite", quick=True),
    "first_token": Benchmark("apply to first token, beside the engine by hand (real model)", quick=True),
    "healing": Benchmark("a killed engine to the next token by serve, beside the engine by hand; idle cost (2 min)"),
    "quantize": Benchmark("quantizing beside llama.cpp's own library (real model; `make npm`)", quick=True),
    "convert": Benchmark("converting safetensors beside copying as many bytes, and the memory it takes (1 min)"),
    "placement": Benchmark("placing deployments on devices: time, and quality beside an exact solver", program=ALONE),
    "gateway": Benchmark("the gateway beside nginx (needs nginx, wrk, a C compiler)", program=ALONE),
    "download": Benchmark("downloading beside `hf download`", program=ALONE),
    "memory": Benchmark("memory estimates beside the engine's own report", program=ALONE),
    "runtime": Benchmark("the Docker runtime beside the bare engine (needs dockerd)", program=BESIDE_AN_ENGINE),
    "rates": Benchmark("plan, apply and healing of containers beside docker (needs dockerd)", program=BESIDE_AN_ENGINE),
    "rollout": Benchmark("what clients notice of replacements and reloads (needs dockerd)", program=BESIDE_AN_ENGINE),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for and print it."""
    quick = [name for name, one in BENCHMARKS.items() if one.quick]
    listing = "\n".join(f"  {name:<12} {'* ' if one.quick else '  '}{one.what}" for name, one in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Figures, as ratios to something else in the same run.",
        epilog=f"benchmarks (* without a name):\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args(arguments).names or quick
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}, Python {platform.python_version()}", flush=True)
    rows: list[Row] = []
    for name in names:
        print(f"{name}: {BENCHMARKS[name].what}", file=sys.stderr, flush=True)
        rows += _run(name)
    if rows:
        print(table(rows))


def _run(name: str) -> Sequence[Row]:
    """The rows of one benchmark; none for one that printed its own figures, or could not be run here."""
    if program := BENCHMARKS[name].program:
        subprocess.run([*program, f"benchmarks.{name}"], check=False)
        return ()
    try:
        rows: Sequence[Row] = import_module(f"benchmarks.{name}").run()
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        print(f"{name}: not measured: {error}", file=sys.stderr)
        return ()
    return rows


if __name__ == "__main__":
    main()

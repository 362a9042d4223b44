"""What the state costs: opening it cold, one journalled effect, a declaration of 1,000 resources.

Run `python -m benchmarks.store [DIRECTORY]`; DIRECTORY is on the disk to be measured (default: the working directory).
Prints one JSON object; times in milliseconds. Two commits to the disk stand behind each journalled effect.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from nexus_ctl.clock import SystemClock
from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.store.records import Declaration, Event
from nexus_ctl.store.store import Store

COLD = """
from time import perf_counter
start = perf_counter()
import sys
from pathlib import Path
from nexus_ctl.clock import SystemClock
from nexus_ctl.store.store import Store
imported = perf_counter()
Store.open(Path(sys.argv[1]), SystemClock()).close()
print((imported - start) * 1000, (perf_counter() - imported) * 1000)
"""
CHAT = Ref("Deployment", "chat")


def milliseconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = perf_counter()
    work()
    return (perf_counter() - start) * 1000


def cold(file: Path) -> tuple[float, float]:
    """(import, open and close) of a process that has just started; the median of five by the sum."""
    runs = [
        subprocess.run(
            [sys.executable, "-c", COLD, str(file)], check=True, capture_output=True, text=True
        ).stdout.split()
        for _ in range(5)
    ]
    imported, opened = sorted(((float(a), float(b)) for a, b in runs), key=sum)[2]
    return imported, opened


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else ".") as directory:
        file = Path(directory) / "state.db"
        figures: dict[str, float] = {}
        with Store.open(file, SystemClock()) as store:

            def effect(seq: int) -> None:
                store.journal.begin("op", seq, set_name="bench", ref=CHAT, action='{"start":"chat"}')
                store.journal.done("op", seq)

            effects = [milliseconds(lambda seq=number: effect(seq)) for number in range(1000)]  # type: ignore[misc]
            figures["journal_begin_and_end_median"] = statistics.median(effects)
            figures["journal_begin_and_end_p95"] = statistics.quantiles(effects, n=20)[-1]
            wishes = [Declaration(Ref("Preset", f"p{number}"), {"n": number}) for number in range(1000)]
            for name in ("declare_1000_new", "declare_1000_unchanged"):
                figures[name] = milliseconds(lambda: store.objects.declare("bench", *wishes, cause="apply"))
            figures["read_1000_objects"] = milliseconds(lambda: store.objects.all("bench"))
            states = [Condition("Ready", "True", "Serving"), Condition("Ready", "False", "Loading")]
            statuses = [
                milliseconds(
                    lambda state=states[number % 2]: store.objects.write_status(  # type: ignore[misc]
                        "bench", wishes[0].ref, [state], observed_generation=1
                    )
                )
                for number in range(200)
            ]
            figures["write_status_median"] = statistics.median(statuses)
            events = [
                milliseconds(
                    lambda ref=wishes[number].ref: store.events.emit(  # type: ignore[misc]
                        Event("Normal", "Started", "up", "bench", ref)
                    )
                )
                for number in range(200)
            ]
            figures["emit_event_median"] = statistics.median(events)
        figures["import_cold"], figures["open_cold_1000_objects"] = cold(file)
        print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()

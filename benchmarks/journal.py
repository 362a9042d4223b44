"""What one effect costs in the journal: the store's own benchmark, beside bare SQLite with the same two commits."""

from __future__ import annotations

import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from benchmarks.row import Row

EFFECTS = 300
NAMES = {
    "open_cold_1000_objects": "state: open, 1,000 objects in it",
    "declare_1000_new": "state: declare 1,000 new",
    "declare_1000_unchanged": "state: declare 1,000 unchanged",
    "read_1000_objects": "state: read 1,000 objects",
}


def run() -> Sequence[Row]:
    """The effect with its peer, then the other figures of the store."""
    with tempfile.TemporaryDirectory(dir=".") as folder:  # on a disk, not in memory as /tmp may be
        bare = _bare_milliseconds(Path(folder) / "bare.db")
        words = [sys.executable, "-m", "benchmarks.store", folder]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    figures: dict[str, float] = json.loads(said)
    effect = figures["journal_begin_and_end_median"]
    return [
        Row("journal: begin and end of an effect", effect, "ms", "bare SQLite, two commits", bare, at_most=2),
        *(Row(what, figures[name], "ms") for name, what in NAMES.items()),
    ]


def _bare_milliseconds(file: Path) -> float:
    """Median of an insert and an update, each committed to the disk as the store commits."""
    with sqlite3.connect(file, isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE effects (seq INTEGER PRIMARY KEY, action TEXT, state TEXT)")
        taken = []
        for seq in range(EFFECTS):
            start = perf_counter()
            connection.execute("INSERT INTO effects VALUES (?, 'start', 'begun')", (seq,))
            connection.execute("UPDATE effects SET state = 'done' WHERE seq = ?", (seq,))
            taken.append((perf_counter() - start) * 1000)
    connection.close()
    return statistics.median(taken)

"""What the command line costs before it does anything: CPU of whole processes, beside the same interpreter alone."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.child import NEXUSCTL, cpu_milliseconds
from benchmarks.manifests import write
from benchmarks.row import Row

ROUNDS = 15
DOCUMENTS = 100


def run() -> Sequence[Row]:
    """`--help`, `version`, `validate`; the peers are an empty program and one that imports click alone."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), DOCUMENTS)
        medians = cpu_milliseconds(
            {
                "pass": [sys.executable, "-c", "pass"],
                "click": [sys.executable, "-c", "import click"],
                "--help": [NEXUSCTL, "--help"],
                "version": [NEXUSCTL, "version"],
                "validate": [NEXUSCTL, "validate"],
            },
            ROUNDS,
            Path(folder),
        )
    click, nothing = medians["click"], medians["pass"]
    return [
        Row("nexusctl --help", medians["--help"], "ms CPU", "import click", click, ratio_at_most=1.6),
        Row("nexusctl version", medians["version"], "ms CPU", "import click", click, ratio_at_most=1.6),
        Row(f"nexusctl validate, {DOCUMENTS} documents", medians["validate"], "ms CPU", "pass", nothing, at_most=400),
    ]

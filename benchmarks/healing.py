"""Self-healing: from the death of an engine to the next token through the gateway, with `nexusctl serve` and without a
command; beside the same engine started by hand. And what `serve` costs while nothing happens.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import psutil

from benchmarks import first_token
from benchmarks.child import NEXUSCTL, spend
from benchmarks.row import Row

ROUNDS = 5
IDLE_SECONDS = 60.0


def run() -> Sequence[Row]:
    """Seconds from a kill to a token, and milliseconds of CPU in an idle minute."""
    model = first_token.find_model()
    with tempfile.TemporaryDirectory(prefix="nexusctl-bench-") as name:
        folder, environ = Path(name), {**os.environ, "HOME": name}
        port = first_token.free_port()
        manifest = folder / "nexus.yaml"
        manifest.write_text(first_token.MANIFEST.format(host=first_token.HOST_HERE, port=port, model=model))
        bare = [first_token.by_hand(manifest, model) for _ in range(ROUNDS + 1)][1:]
        spend([NEXUSCTL, "apply", "--yes"], folder, environ)
        daemon = subprocess.Popen([NEXUSCTL, "serve"], cwd=folder, env=environ, stderr=subprocess.PIPE, text=True)
        try:
            assert daemon.stderr is not None
            daemon.stderr.readline()
            time.sleep(2)
            before = _cpu_seconds(daemon.pid)
            time.sleep(IDLE_SECONDS)
            idle = _cpu_seconds(daemon.pid) - before
            healed = [_healed(folder, port) for _ in range(ROUNDS)]
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.communicate()
            spend([NEXUSCTL, "delete", "-f", "nexus.yaml", "--yes"], folder, environ)
    return [
        Row(
            "killed engine to next token, by serve",
            statistics.median(healed),
            "s",
            "the engine by hand",
            statistics.median(bare),
        ),
        Row("serve, CPU in an idle minute", idle * 1000, "ms"),
    ]


def _healed(folder: Path, port: int) -> float:
    """Seconds from the kill of the engine to a token. The wait before it lets the kill be forgiven, not backed off."""
    time.sleep(11)
    [run_file] = (folder / ".nexus" / "replicas").glob("bench-chat-*/run.json")
    start = perf_counter()
    os.kill(json.loads(run_file.read_text())["pid"], signal.SIGKILL)
    while perf_counter() - start < first_token.PATIENCE_SECONDS:
        try:
            first_token.ask(port)
        except (OSError, RuntimeError):
            time.sleep(0.01)
        else:
            return perf_counter() - start
    raise RuntimeError("it never served again")


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)

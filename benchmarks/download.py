"""Our download beside `hf download`: the same file, from the same local hub, in turn; and what a kill costs.

Run `python -m benchmarks.download [DIRECTORY]`; DIRECTORY is on the disk to be measured (default: here).
Prints one JSON object. Whole commands are timed, interpreter start and metadata included, as a user would see them;
`transferSeconds` is the client's own call alone. Ours hashes, verifies and fsyncs; `hf` does none of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

REPO, NAME = "acme/tiny-GGUF", "tiny-Q8_0.gguf"
SIZE_BYTES = 200 << 20
ROUNDS = 7

SERVE = """
import random, sys
from tests.fakes.hub import FakeHub
hub = FakeHub()
hub.commit(sys.argv[1], {sys.argv[2]: random.Random(1).randbytes(int(sys.argv[3]))})
with hub:
    print(hub.url, flush=True)
    sys.stdin.read()
"""
OURS = """
import os, signal, sys
from pathlib import Path
from time import perf_counter
from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.source import Means
from nexus_ctl.clock import SystemClock
from nexus_ctl.resources.artifact import Request
from nexus_ctl.resources.model import HuggingFaceSource, Source

kill_at = int(sys.argv[4])
def watch(progress):
    if 0 <= kill_at <= progress.done_bytes:
        os.kill(os.getpid(), signal.SIGKILL)

cache = Cache(Path(sys.argv[1]), Means(SystemClock(), os.environ))
request = Request(Source(hugging_face=HuggingFaceSource(repo=sys.argv[2], files=[sys.argv[3]])))
offer = cache.resolve(request)
start = perf_counter()
artifact = cache.fetch(request, offer, watch)
print(artifact.sha256, perf_counter() - start)
"""
THEIRS = """
import hashlib, sys
from time import perf_counter
from huggingface_hub import hf_hub_download
start = perf_counter()
path = hf_hub_download(sys.argv[2], sys.argv[3], cache_dir=sys.argv[1])
print(path, perf_counter() - start)
"""


def timed(words: list[str], environ: dict[str, str]) -> tuple[float, str]:
    """(seconds of the whole command, what it printed)."""
    start = perf_counter()
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=True)
    return perf_counter() - start, done.stdout


def measure(folder: Path, endpoint: str, sha256: str) -> dict[str, object]:
    """All figures; fresh caches each time, the contenders taking turns."""
    figures: dict[str, list[float]] = {}
    hf = str(Path(sys.executable).parent / "hf")
    for turn in range(ROUNDS):
        home, cache = folder / f"hf-{turn}", folder / f"ours-{turn}"
        quiet = {
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }
        environ = {**os.environ, **quiet, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
        took, _ = timed([hf, "download", REPO, NAME], environ)
        figures.setdefault("hf download", []).append(took)
        _, printed = timed([sys.executable, "-c", THEIRS, str(home / "again"), REPO, NAME], environ)
        figures.setdefault("hf transfer", []).append(float(printed.split()[-1]))
        ours = [sys.executable, "-c", OURS, str(cache), REPO, NAME]
        environ["HF_HOME"] = str(home / "none")
        took, printed = timed([*ours, "-1"], environ)
        assert printed.split()[0] == sha256
        figures.setdefault("nexusctl", []).append(took)
        figures.setdefault("nexusctl transfer", []).append(float(printed.split()[-1]))
        killed = [sys.executable, "-c", OURS, str(cache) + "-killed", REPO, NAME, str(SIZE_BYTES // 2)]
        environ["HF_HOME"] = str(home / "killed")
        start = perf_counter()
        assert subprocess.run(killed, env=environ, capture_output=True, check=False).returncode == -signal.SIGKILL
        first = perf_counter() - start
        took, printed = timed([*killed[:-1], "-1"], environ)
        assert printed.split()[0] == sha256
        figures.setdefault("killed at half, then resumed", []).append(first + took)
        figures.setdefault("resumed half transfer", []).append(float(printed.split()[-1]))
        subprocess.run(["rm", "-rf", str(home), str(cache), str(cache) + "-killed"], check=True)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    return {
        "sizeBytes": SIZE_BYTES,
        "rounds": ROUNDS,
        "medianSeconds": {name: round(value, 3) for name, value in medians.items()},
        "commandRatio": round(medians["nexusctl"] / medians["hf download"], 3),
        "transferRatio": round(medians["nexusctl transfer"] / medians["hf transfer"], 3),
        "resumeRatio": round(medians["killed at half, then resumed"] / medians["nexusctl"], 3),
    }


def main() -> None:
    """Serve, measure, print."""
    sha256 = hashlib.sha256(random.Random(1).randbytes(SIZE_BYTES)).hexdigest()
    words = [sys.executable, "-c", SERVE, REPO, NAME, str(SIZE_BYTES)]
    with (
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else ".") as folder,
    ):
        assert server.stdout is not None
        assert server.stdin is not None
        endpoint = server.stdout.readline().strip()
        print(json.dumps(measure(Path(folder), endpoint, sha256), indent=1))
        server.stdin.close()


if __name__ == "__main__":
    main()

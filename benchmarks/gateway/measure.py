"""One gateway under load: requests with wrk, streams with our own client, cost from the kernel's books.

Called by `__main__`. CPU time is that of the gateway's whole process tree, in microseconds; memory is its resident
set in bytes. Nothing here compares.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

_WRK = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = '{"model":"chat","messages":[{"role":"user","content":"%s"}]}'
done = function(summary, latency)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
  io.write(string.format('RESULT {"requests": %%d, "seconds": %%f, "p50_us": %%d, "failed": %%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), failed + summary.errors.timeout))
end
"""


class Target(NamedTuple):
    """Where the load goes: the gateway's port and process (None: straight to the engine), and the core of the load."""

    work: Path
    port: int
    process: psutil.Process | None
    core: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"


class Load(NamedTuple):
    """wrk's figures."""

    requests: int
    seconds: float
    p50_us: float
    failed: int
    cpu_us: float


class Streams(NamedTuple):
    """The stream client's figures; delays are from engine to client."""

    streams: int
    broken: int
    events: int
    first_p50_us: float
    first_p99_us: float
    event_p50_us: float
    event_p99_us: float
    cpu_us: float


def free_ports(count: int) -> list[int]:
    """Ports free a moment ago, each with a free neighbour above it."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count * 2)]
    ports = sorted(listener.getsockname()[1] for listener in held)
    for listener in held:
        listener.close()
    return ports[::2]


def build(source: Path, target: Path) -> None:
    """Compile a C program."""
    subprocess.run(["cc", "-O2", "-o", target, source], check=True)


@contextmanager
def running(command: list[str], core: int, log: Path) -> Iterator[psutil.Popen]:
    """The command, pinned to a core; ended with all its children."""
    with log.open("wb") as out:
        process = psutil.Popen(["taskset", "-c", str(core), *command], stdout=out, stderr=out)
    try:
        yield process
    finally:
        tree = [process, *process.children(recursive=True)]
        for member in tree:
            with suppress(psutil.NoSuchProcess):  # a parent ends its children too
                member.terminate()
        _, alive = psutil.wait_procs(tree, timeout=10)
        for member in alive:
            member.kill()


def until_answers(port: int, process: psutil.Popen, timeout_seconds: float) -> float:
    """Seconds until a chat request is answered with 200. Raises TimeoutError."""
    body = b'{"model":"chat","messages":[{"role":"user","content":"hello"}]}'
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    start = time.monotonic()
    while time.monotonic() - start < timeout_seconds:
        if process.poll() is not None:
            raise TimeoutError(f"the process on port {port} ended with {process.returncode}")
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                if answer.status == 200:
                    return time.monotonic() - start
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.005)
    raise TimeoutError(f"no answer on port {port}")


def cpu_us(process: psutil.Process | None) -> float:
    """CPU time used so far by a process and its children; 0 for none."""
    if process is None:
        return 0.0
    times = [member.cpu_times() for member in [process, *process.children(recursive=True)]]
    return sum(t.user + t.system for t in times) * 1e6


def memory_bytes(process: psutil.Process) -> int:
    """Resident set of a process and its children."""
    return sum(member.memory_info().rss for member in [process, *process.children(recursive=True)])


def load(target: Target, connections: int, seconds: int, prompt: int = 5) -> Load:
    """`connections` closed loops of requests with a prompt of `prompt` bytes."""
    script = target.work / f"wrk-{prompt}.lua"
    script.write_text(_WRK % ("x" * prompt))
    before = cpu_us(target.process)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", script, target.url]
    found = re.search(r"RESULT (.*)", _pinned(target, command))
    assert found
    return Load(**json.loads(found[1]), cpu_us=cpu_us(target.process) - before)


def streams(target: Target, connections: int, seconds: float, events: int) -> Streams:
    """`connections` streams at a time, each of `events` events."""
    before = cpu_us(target.process)
    command = [target.work / "streams", str(target.port), str(connections), f"{seconds:g}", str(events)]
    return Streams(**json.loads(_pinned(target, command)), cpu_us=cpu_us(target.process) - before)


def _pinned(target: Target, command: list[str | Path]) -> str:
    """What the command prints."""
    pinned = ["taskset", "-c", str(target.core), *command]
    return subprocess.run(pinned, check=True, capture_output=True, text=True).stdout

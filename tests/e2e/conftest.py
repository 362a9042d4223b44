"""A user's workspace: a folder with a nexus.yaml, and the command line as a user types it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

PATIENCE_SECONDS = 90.0


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], Any], what: str) -> Any:
    """The first true answer of `check`; fails after a minute and a half."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.05)
    return pytest.fail(f"never came true: {what}")


@contextmanager
def keeping(set_name: str, daemon: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """`nexusctl serve` beside the test; stopped politely at the end, unless the test has ended it."""
    assert daemon.stderr is not None
    assert f"keeping set {set_name}" in daemon.stderr.readline()
    try:
        yield daemon
        if daemon.returncode is None:  # one that ended by itself is told by its code
            daemon.send_signal(signal.SIGTERM)
            said = daemon.communicate(timeout=60)
            assert daemon.returncode == 0, said
    finally:
        daemon.kill()
        daemon.communicate()


@dataclass
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Workspace:
    """One folder of a user. `documents` is what nexus.yaml says; `write()` after editing it."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.inside: tuple[str, ...] = ()
        """Words before the command line, for another engine's network."""
        self.environ = {**os.environ, "HOME": str(folder / "home"), "COLUMNS": "200"}
        (folder / "home").mkdir(exist_ok=True)
        engine = {"llamaCpp": {"contextSize": 512, "threads": {"generation": 1}}}
        self.documents: dict[str, dict[str, Any]] = {
            "Stack/e2e": {
                "gateway": {"listen": f"127.0.0.1:{self.port}"},
                "runtime": {"driver": "process"},
                "modelCache": {"path": str(folder / "cache")},
            },
            "Model/smol": {"source": {"path": str(model)}},
            "Deployment/chat": {"model": "smol", "engine": engine},
            "Preset/precise": {"sampling": {"temperature": 0.7}},
            "Route/chat": {"backends": [{"deployment": "chat"}], "preset": "precise"},
        }
        self.write()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def llama(self) -> dict[str, Any]:
        """The chat deployment's engine parameters, to edit."""
        found: dict[str, Any] = self.documents["Deployment/chat"]["engine"]["llamaCpp"]
        return found

    def write(self) -> None:
        """Write nexus.yaml as `documents` say."""
        texts = []
        for ref, spec in self.documents.items():
            kind, name = ref.split("/")
            texts.append({"apiVersion": "nexus/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
        (self.folder / "nexus.yaml").write_text(yaml.safe_dump_all(texts))

    def popen(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            [*self.inside, str(Path(sys.executable).with_name("nexusctl")), *words],
            cwd=self.folder,
            env=self.environ,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )

    def run(self, *words: str) -> Done:
        """Run a command to its end."""
        process = self.popen(*words)
        out, err = process.communicate(timeout=PATIENCE_SECONDS * 2)
        return Done(process.returncode, out, err)

    def ok(self, *words: str) -> Done:
        """Run a command that must succeed."""
        done = self.run(*words)
        assert done.code == 0, f"nexusctl {' '.join(words)} → {done.code}\n{done.out}\n{done.err}"
        return done

    def apply(self) -> Done:
        """Apply nexus.yaml as it stands."""
        return self.ok("apply", "--yes")

    def replicas(self) -> dict[str, int]:
        """Name → pid of the engine of every replica that runs, read from the runtime's own records."""
        found = {}
        for folder in sorted((self.folder / ".nexus" / "replicas").glob("e2e-*")):
            run = folder / "run.json"
            if run.exists():
                found[folder.name] = int(json.loads(run.read_text())["pid"])
        return {name: pid for name, pid in found.items() if Path(f"/proc/{pid}").exists()}

    def routed(self) -> tuple[str, str]:
        """The one replica of the chat deployment that the gateway's table has, and its address."""
        table = json.loads((self.folder / ".nexus" / "gateway" / "e2e.json").read_text())
        [found] = table["endpoints"]["chat"].items()
        return found

    def ours(self) -> list[int]:
        """Every process on the machine that works for this workspace."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(self.folder) in line and int(entry.name) != os.getpid():
                found.append(int(entry.name))
        return found


@pytest.fixture
def workspace(tmp_path: Path, smollm2: Path) -> Iterator[Workspace]:
    """A workspace that is taken down at the end, however the test ended."""
    made = Workspace(tmp_path, smollm2)
    yield made
    made.run("delete", "-f", "nexus.yaml", "--yes")
    for pid in made.ours():
        os.kill(pid, 9)

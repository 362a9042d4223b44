"""The process runtime keeps the runtime contract, with real processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from nexus_ctl.runtimes.probe import HttpProber
from nexus_ctl.runtimes.process.runtime import ProcessRuntime
from tests.contracts import tiny
from tests.contracts.runtime_suite import RuntimeCase, RuntimeContract

PROGRAMS = {"tiny": (sys.executable, "-I", "-S", tiny.__file__)}


@pytest.fixture
def case(tmp_path: Path) -> Iterator[RuntimeCase]:
    state = tmp_path / "state"

    def opened() -> ProcessRuntime:
        return ProcessRuntime(state, "install-1", PROGRAMS)

    def make_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text + "\n", encoding="utf-8")
        return str(path)

    def put_foreign(name: str) -> None:
        (state / "replicas" / name).mkdir(parents=True)
        (state / "replicas" / name / "theirs").touch()

    def send(name: str, number: signal.Signals) -> None:
        seen = opened().inspect(name)
        assert seen is not None
        assert seen.pid is not None
        os.kill(seen.pid, number)

    def get(address: str, path: str) -> str:
        with urlopen(address + path, timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    yield RuntimeCase(
        runtime=opened(),
        prober=HttpProber(),
        instance="install-1",
        get=get,
        put_foreign=put_foreign,
        put_serving=None,
        forget=lambda name: None,
        kill=lambda name: send(name, signal.SIGKILL),
        pause=lambda name: send(name, signal.SIGSTOP),
        make_file=make_file,
        written=lambda: [path.read_bytes() for path in state.rglob("*") if path.is_file()],
        reopen=opened,
    )
    for path in (state / "replicas").glob("*/alive"):
        opened().stop(path.parent.name, 0)


class TestProcessRuntime(RuntimeContract):
    """The contract."""

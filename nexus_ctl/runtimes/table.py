"""Which runtime a stack uses, and why: one row per driver.

Called once per command by the composition root. The rule: what `auto` chose at first stays chosen (a word in the state
directory), for an engine that is down for a minute must not make every replica start a second time somewhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_ctl.errors import UsageError
from nexus_ctl.runtimes.port import Images, Runtime

if TYPE_CHECKING:
    from nexus_ctl.runtimes.docker.runtime import DockerRuntime

CHOSEN = "runtime"
"""File in the state directory with the driver that `auto` chose."""
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Choice:
    """A runtime and the words that say why it is this one."""

    runtime: Runtime
    images: Images | None
    """The runtime's container images; None where it has none."""
    driver: str
    why: str


def open_runtime(wanted: str, state_dir: Path, instance: str, process: Callable[[], Runtime]) -> Choice:
    """The runtime of `spec.runtime.driver`; `process` makes the one that needs no engine.

    `auto` is Docker where an engine of this machine answers, else processes. Writes down what `auto` chose, where the
    state directory exists. Raises UsageError (an engine on another machine).
    """
    driver, why = (wanted, "declared") if wanted != AUTO else detect(state_dir)
    if driver == "process":
        return Choice(process(), None, driver, why)
    engine = docker(instance)
    return Choice(engine, engine, driver, why)


def detect(state_dir: Path) -> tuple[str, str]:
    """What `auto` means here: the driver and why."""
    file = state_dir / CHOSEN
    known = file.read_text(encoding="ascii").strip() if file.exists() else ""
    if known in ("docker", "process"):
        return known, f"auto, as before; to choose anew remove {file} when nothing runs"
    driver, why = _look()
    if state_dir.is_dir():
        file.write_text(driver + "\n", encoding="ascii")
    return driver, f"auto: {why}"


def docker(instance: str) -> DockerRuntime:
    """The Docker engine of this machine. Raises UsageError for one elsewhere."""
    from nexus_ctl.runtimes.docker.runtime import DockerRuntime

    return DockerRuntime(instance)


def _look() -> tuple[str, str]:
    from nexus_ctl.runtimes.docker import connection

    try:
        url = connection.engine_url()
    except UsageError as error:
        return "process", error.detail
    if connection.answers(url):
        return "docker", f"the Docker engine at {url} answers"
    return "process", f"no Docker engine answers at {url}"

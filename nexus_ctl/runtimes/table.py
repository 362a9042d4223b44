"""Which runtime a stack uses, and why: one row per driver.

Called once per command by the composition root. The rule: what `auto` chose at first stays chosen (a word in the state
directory), for an engine that is down for a minute must not make every replica start a second time somewhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_ctl.errors import Conflict, UsageError
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

    `auto` is Docker where an engine of this machine answers, else processes. Writes down what was chosen, where the
    state directory exists. Raises UsageError (an engine elsewhere), Conflict (replicas left on another driver).
    """
    driver, why = (wanted, "declared") if wanted != AUTO else detect(state_dir)
    before = _chosen(state_dir)
    if before not in ("", driver):
        _hold(before, driver, instance, process)
    if before != driver:
        _choose(state_dir, driver)
    if driver == "process":
        return Choice(process(), None, driver, why)
    engine = docker(instance)
    return Choice(engine, engine, driver, why)


def detect(state_dir: Path) -> tuple[str, str]:
    """What `auto` means here: the driver and why."""
    known = _chosen(state_dir)
    if known:
        return known, f"auto, as before; to choose anew remove {state_dir / CHOSEN} when nothing runs"
    driver, why = _look()
    return driver, f"auto: {why}"


def _chosen(state_dir: Path) -> str:
    """The driver that this state directory has used; "" for none."""
    file = state_dir / CHOSEN
    known = file.read_text(encoding="ascii").strip() if file.exists() else ""
    return known if known in ("docker", "process") else ""


def _choose(state_dir: Path, driver: str) -> None:
    if state_dir.is_dir():
        (state_dir / CHOSEN).write_text(driver + "\n", encoding="ascii")


def _hold(before: str, driver: str, instance: str, process: Callable[[], Runtime]) -> None:
    """Refuse another driver while replicas of this install are left on the one before: they would be orphans."""
    runtime = process() if before == "process" else docker(instance)
    left = [r.name for r in runtime.list() if r.owner is not None and r.owner.kind == "Deployment"]
    if left:
        raise Conflict(
            f"spec.runtime.driver is {driver} now, but {', '.join(left)} run on {before}",
            hint=f"declare driver: {before}, take them down with `nexusctl delete`, then declare {driver}",
            code="driver-changed",
        )


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

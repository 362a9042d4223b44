"""Which runtime a stack uses, and why: one row per driver.

Called once per command by the composition root. The rule: what was chosen at first stays chosen (a file in the state
directory says the driver and which engine), for an engine that is down for a minute, or another address in the
environment, must not make every replica start a second time somewhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_ctl.errors import Conflict, RuntimeUnreachable, UsageError
from nexus_ctl.resources.one_shot import ContainerPrograms
from nexus_ctl.runtimes.adoptions import FILE, Adoptions
from nexus_ctl.runtimes.port import Images, Runtime

if TYPE_CHECKING:
    from nexus_ctl.runtimes.docker.forgotten import Forgotten
    from nexus_ctl.runtimes.docker.runtime import DockerRuntime

CHOSEN = "runtime"
"""File in the state directory: the driver, and for Docker the engine's address and what it is known by."""
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Choice:
    """A runtime and the words that say why it is this one."""

    runtime: Runtime
    images: Images | None
    """The runtime's container images; None where it has none."""
    driver: str
    why: str
    programs: Callable[[], ContainerPrograms | None] = lambda: None
    """What runs programs out of images; None where nothing does."""
    forgotten: Callable[[], tuple[Forgotten, ...]] = tuple
    """Processes of containers that the engine does not know; without an engine none."""


def open_runtime(wanted: str, state_dir: Path, instance: str, process: Callable[[], Runtime]) -> Choice:
    """The runtime of `spec.runtime.driver`; `process` makes the one that needs no engine.

    `auto` is Docker where an engine of this machine answers, else processes. Writes down what was chosen, where the
    state directory exists. Raises UsageError (an engine elsewhere), Conflict (replicas left on another driver).
    """
    driver, why = (wanted, "declared") if wanted != AUTO else detect(state_dir)
    before = _chosen(state_dir)
    if before.driver not in ("", driver):
        _hold(before, driver, instance, process)
    if driver == "process":
        _choose(state_dir, before, Chosen(driver))
        return Choice(process(), None, driver, why)
    engine = docker(instance, adoptions=Adoptions(state_dir / FILE))
    _choose(state_dir, before, Chosen(driver) if before.driver != driver else before)
    _same_engine(state_dir, engine)
    return Choice(engine, engine, driver, why, engine.programs, engine.forgotten)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a state directory has used; `driver` is "" for nothing yet."""

    driver: str = ""
    url: str = ""
    engine: str = ""
    """What the engine is known by, whatever its address."""


def detect(state_dir: Path) -> tuple[str, str]:
    """What `auto` means here: the driver and why."""
    known = _chosen(state_dir).driver
    if known:
        return known, f"auto, as before; to choose anew remove {state_dir / CHOSEN} when nothing runs"
    driver, why = _look()
    return driver, f"auto: {why}"


def _chosen(state_dir: Path) -> Chosen:
    file = state_dir / CHOSEN
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return Chosen(*lines[:3]) if lines and lines[0] in ("docker", "process") else Chosen()


def _choose(state_dir: Path, before: Chosen, now: Chosen) -> None:
    if now != before and state_dir.is_dir():
        lines = filter(None, (now.driver, now.url, now.engine))
        (state_dir / CHOSEN).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _same_engine(state_dir: Path, engine: DockerRuntime) -> None:
    """Write down which engine it is; refuse another one while replicas of this install are left on the one before.

    An engine that does not answer is left to its first caller.
    """
    before = _chosen(state_dir)
    if before.url == engine.url:
        return
    try:
        now = Chosen("docker", engine.url, engine.identity())
        if before.url and before.engine != now.engine:
            _hold_engine(state_dir, before, engine)
    except RuntimeUnreachable:
        return
    _choose(state_dir, before, now)


def _hold_engine(state_dir: Path, before: Chosen, engine: DockerRuntime) -> None:
    try:
        elsewhere = _left(docker(engine.instance, before.url))
    except (RuntimeUnreachable, UsageError) as error:
        raise Conflict(
            f"this stack ran on the Docker engine at {before.url}, and now it is to be the one at {engine.url}; "
            "whether replicas are left over there cannot be seen",
            hint=f"export DOCKER_HOST={before.url}  or, when nothing of it runs there:  rm {state_dir / CHOSEN}",
            code="driver-changed",
        ) from error
    if left := sorted(set(elsewhere) - set(_left(engine))):
        raise Conflict(
            f"it is the Docker engine at {engine.url} now, but {', '.join(left)} run on the one at {before.url}",
            hint=f"export DOCKER_HOST={before.url}  and keep it, or take them down there first:  nexusctl delete",
            code="driver-changed",
        )


def _hold(before: Chosen, driver: str, instance: str, process: Callable[[], Runtime]) -> None:
    """Refuse another driver while replicas of this install are left on the one before: they would be orphans."""
    runtime = process() if before.driver == "process" else docker(instance, before.url)
    if left := _left(runtime):
        raise Conflict(
            f"spec.runtime.driver is {driver} now, but {', '.join(left)} run on {before.driver}",
            hint=f"declare driver: {before.driver}, take them down with `nexusctl delete`, then declare {driver}; "
            "stacks of one folder share a driver, so a stack with another one wants a folder of its own",
            code="driver-changed",
        )


def _left(runtime: Runtime) -> list[str]:
    return [r.name for r in runtime.list() if r.owner is not None and r.owner.kind == "Deployment"]


def docker(instance: str, url: str = "", adoptions: Adoptions | None = None) -> DockerRuntime:
    """The Docker engine at an address, else the one that the docker command would use. Raises UsageError for one that
    is not on this machine."""
    from nexus_ctl.runtimes.docker.runtime import DockerRuntime

    return DockerRuntime(instance, url, adoptions=adoptions)


def _look() -> tuple[str, str]:
    from nexus_ctl.runtimes.docker import address, connection

    try:
        engine = address.find()
    except UsageError as error:
        return "process", error.detail
    if connection.answers(engine):
        return "docker", f"the Docker engine at {engine.url} answers"
    return "process", f"no Docker engine answers at {engine.url}"

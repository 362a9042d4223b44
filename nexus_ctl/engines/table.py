"""Which module speaks for which engine: one row per field of `Engine`.

Controllers and the manifest's checks ask here, so a new engine is a field, a module and a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nexus_ctl.engines import llama_cpp
from nexus_ctl.engines.fault import Fault
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import LaunchSpec


@dataclass(frozen=True, slots=True)
class EngineRow:
    """What an engine's module offers. Both are pure."""

    launch: Callable[[DeploymentSpec], LaunchSpec]
    check: Callable[[DeploymentSpec], tuple[Fault, ...]]


ENGINES: Mapping[str, EngineRow] = {
    "llama_cpp": EngineRow(llama_cpp.launch, llama_cpp.check),
}


def launch(spec: DeploymentSpec) -> LaunchSpec:
    """What to run for each replica of this Deployment."""
    return ENGINES[engine_of(spec)].launch(spec)


def check(spec: DeploymentSpec) -> tuple[Fault, ...]:
    """What is wrong with the engine's part of the spec."""
    return ENGINES[engine_of(spec)].check(spec)


def engine_of(spec: DeploymentSpec) -> str:
    """The field of `Engine` that is given; the spec's own validation makes it exactly one."""
    return next(name for name in ENGINES if getattr(spec.engine, name) is not None)

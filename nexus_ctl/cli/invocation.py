"""What a command is handed from outside, as values: its words, the way to a stack's world, and who sits there.

A test runs the same commands with another `workspace` and another `interactive`; nothing is patched.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from controllers.session import Session
    from nexus_ctl.artifacts.hub.catalog import Catalog
    from nexus_ctl.artifacts.port import Artifacts
    from nexus_ctl.artifacts.records import Layout
    from nexus_ctl.clock import Clock
    from nexus_ctl.resources.declared import Stack
    from nexus_ctl.resources.device import Device, DeviceList
    from nexus_ctl.resources.secret import ValueFrom
    from nexus_ctl.routing.port import Routing
    from nexus_ctl.runtimes.docker.importing import Imported
    from nexus_ctl.store.lock import Holder, StateLock
    from nexus_ctl.store.store import Store
    from nexus_ctl.views.top import Usage


class Workspace(Protocol):
    """The way to one stack's world and store. Nothing is opened before it is asked for."""

    @property
    def stack(self) -> Stack:
        """What was loaded."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def gateway_url(self) -> str:
        """Where the gateway of this stack listens: `http://host:port`."""
        ...

    @property
    def store(self) -> Store:
        """The state database, opened on first use."""
        ...

    @property
    def session(self) -> Session:
        """World and store together, opened on first use."""
        ...

    @property
    def cache(self) -> Layout:
        """The model cache on disk."""
        ...

    @property
    def artifacts(self) -> Artifacts:
        """The model cache and the sources behind it."""
        ...

    @property
    def catalog(self) -> Catalog:
        """What the hub says of models."""
        ...

    @property
    def routing(self) -> Routing:
        """The gateway's table and counters."""
        ...

    @property
    def actor(self) -> str:
        """Who is at work: `user@host`."""
        ...

    def secret(self, source: ValueFrom) -> str:
        """The value of a secret reference, read now. Raises Terminal."""
        ...

    @property
    def note(self) -> str:
        """The driver in use and why, for the plan's header."""
        ...

    def lock(self, timeout: float) -> AbstractContextManager[Holder]:
        """The one writer's lock. Raises LockBusy."""
        ...

    @property
    def turns(self) -> StateLock:
        """The same lock, for who takes turns and gives way."""
        ...

    @property
    def only_server(self) -> StateLock:
        """Held by `serve` for its life: one per state directory."""
        ...

    def usage(self, pids: list[int], seconds: float) -> Mapping[int, Usage]:
        """What processes use, measured over so long; those that are gone are left out."""
        ...


OpenWorkspace = Callable[["Stack", str], AbstractContextManager[Workspace]]
"""`(stack, command line) -> workspace`."""


def open_local(stack: Stack, command: str) -> AbstractContextManager[Workspace]:
    """The real world, on this machine."""
    from nexus_ctl.cli.compose import LocalWorkspace

    return LocalWorkspace(stack, command)


def import_local(name: str) -> Imported:
    """A container of this machine's Docker engine, as manifests."""
    from nexus_ctl.runtimes.docker.importing import import_container

    return import_container(name)


def look_at_machine() -> tuple[Device, DeviceList]:
    """This machine's RAM and GPUs as they are now."""
    from nexus_ctl.runtimes import nvml

    return nvml.host(), nvml.devices()


def _somebody_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


@dataclass(frozen=True)
class Invocation:
    """One run of nexusctl."""

    words: tuple[str, ...] = ()
    """The arguments as typed, without the program's name."""
    workspace: OpenWorkspace = open_local
    interactive: Callable[[], bool] = field(default=_somebody_there)
    """Whether a person can be asked."""
    container: Callable[[str], Imported] = import_local
    """Reads somebody's container by name."""
    machine: Callable[[], tuple[Device, DeviceList]] = look_at_machine
    """The machine's RAM and its GPUs."""

    @property
    def command(self) -> str:
        """The line as it goes into history, journal and lock."""
        return " ".join(("nexusctl", *self.words))

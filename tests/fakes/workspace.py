"""The command line over a world of fakes: the same commands, another way out. Nothing of the product is patched."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from controllers.session import Session
from nexus_ctl.artifacts.hub.catalog import Catalog
from nexus_ctl.artifacts.records import Layout
from nexus_ctl.artifacts.source import Means, Patience
from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.main import run
from nexus_ctl.clock import Clock
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.device import Device, DeviceList
from nexus_ctl.resources.secret import ValueFrom
from nexus_ctl.store.lock import Holder, StateLock
from nexus_ctl.store.store import Store
from nexus_ctl.views.top import Usage
from tests.fakes.world import FakeWorld, Wrap, offer

HOST_RAM = Device("host", "RAM", "host", 0, 8 << 30, 6 << 30, 2 << 30)
"""A machine with 8 GiB, of which 6 are free, and no GPU."""


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class FakeWorkspace:
    """`invocation.Workspace` over a `FakeWorld`; state that must be a file lies in `folder`."""

    note = "fake"

    def __init__(
        self,
        world: FakeWorld,
        folder: Path,
        stack: Stack,
        command: str,
        wrap: Wrap | None,
        *,
        hub: Mapping[str, str] = {},
    ) -> None:
        offer(world, stack)
        self.stack = stack
        self.gateway_url = f"http://{stack.settings.gateway.listen}"
        self.cache = Layout(folder / "cache")
        self.clock: Clock = world.clock
        self.store: Store = world.store
        self.artifacts = world.artifacts
        self.routing = world.world(stack.name).routing
        self.catalog = Catalog(self.cache, Means(world.clock, hub, Patience(failures=2, stall_seconds=20)))
        self.actor = "ann@desk"
        self._folder = folder
        self._command = command
        self._session: Callable[[], Session] = lambda: world.session(wrap, set_name=stack.name)
        self._opened: Session | None = None

    @property
    def session(self) -> Session:
        if self._opened is None:
            self._opened = replace(self._session(), command=self._command)
        return self._opened

    def lock(self, timeout: float) -> AbstractContextManager[Holder]:
        return StateLock(self._folder / "state", self._command, self.clock).acquire(timeout)

    def secret(self, source: ValueFrom) -> str:
        return self.session.world.secret(source)

    @property
    def turns(self) -> StateLock:
        return StateLock(self._folder / "state", self._command, self.clock, gives_way=True)

    @property
    def only_server(self) -> StateLock:
        return StateLock(self._folder / "state", self._command, self.clock, name="serve")

    def usage(self, pids: list[int], seconds: float) -> Mapping[int, Usage]:
        self.clock.sleep(seconds)
        return {pid: Usage(0.25, 100 * 2**20) for pid in pids}

    def __enter__(self) -> FakeWorkspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class CommandLine:
    """nexusctl as typed, in this process. `wrap` breaks the world; `answers` are what a person would type.

    `hub` is the environment in which the hub is asked; `machine` the RAM and GPUs that are found.
    """

    def __init__(self, world: FakeWorld, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.wrap: Wrap | None = None
        self.hub: dict[str, str] = {}
        self.machine: tuple[Device, DeviceList] = (HOST_RAM, DeviceList((), "no driver"))

    def __call__(self, *words: str, answers: str | None = None, stdin: str = "") -> Done:
        def workspace(stack: Stack, command: str) -> FakeWorkspace:
            return FakeWorkspace(self.world, self.folder, stack, command, self.wrap, hub=self.hub)

        invocation = Invocation(
            words,
            workspace,
            lambda: answers is not None,
            machine=lambda: self.machine,
        )
        out, err, before = io.StringIO(), io.StringIO(), sys.stdin
        sys.stdin = io.StringIO(answers if answers is not None else stdin)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = run(words, invocation)
        finally:
            sys.stdin = before
        return Done(code, out.getvalue(), err.getvalue())

    def ok(self, *words: str, **given: Any) -> Done:
        """The same, which must exit 0."""
        done = self(*words, **given)
        assert done.code == 0, f"{words}: {done.code}\n{done.out}\n{done.err}"
        return done

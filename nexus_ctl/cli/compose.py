"""The composition root: the one place that knows every adapter. Opens the real world of one stack.

State lives in `.nexus/` beside the Stack's manifest; model files in the cache that all stacks of a user share. Nothing
is opened before a command asks for it, so that `events` works with no runtime there and `chat` with no database.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import click

from controllers.base import Scene
from controllers.session import Session
from nexus_ctl import __version__
from nexus_ctl.artifacts.builds.image_tool import ImageTools
from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.records import Layout
from nexus_ctl.artifacts.source import Means
from nexus_ctl.artifacts.transfer.throttle import Throttle
from nexus_ctl.cli.usage import measure
from nexus_ctl.clock import Clock, SystemClock, SystemIds
from nexus_ctl.engines.table import launch
from nexus_ctl.execution import secrets
from nexus_ctl.execution.world import World
from nexus_ctl.planning.action import Pool
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.one_shot import ContainerPrograms
from nexus_ctl.resources.secret import ValueFrom
from nexus_ctl.routing.file import RoutingFile
from nexus_ctl.routing.keys import KeyFiles
from nexus_ctl.runtimes import nvml
from nexus_ctl.runtimes.gpu_use import gpu_use
from nexus_ctl.runtimes.probe import HttpProber
from nexus_ctl.runtimes.process.programs import default_programs
from nexus_ctl.runtimes.process.runtime import ProcessRuntime
from nexus_ctl.runtimes.table import Choice, open_runtime
from nexus_ctl.store.instance import instance_id
from nexus_ctl.store.lock import Holder, StateLock
from nexus_ctl.store.store import Store
from nexus_ctl.views.top import Usage

if TYPE_CHECKING:
    from nexus_ctl.artifacts.hub.catalog import Catalog

STATE = ".nexus"
SHARED_TABLE = "table.json"
"""The one table that the stacks of a folder had before each had its own."""
BUILDERS = 1
"""A build takes all cores it is given; two at once would only share them."""
ROUTING_WORKERS = 4
LOOKING_WORKERS = 4


class LocalWorkspace:
    """See `invocation.Workspace`. A context manager; leaving it closes what was opened."""

    def __init__(self, stack: Stack, command: str, environ: Mapping[str, str] = os.environ) -> None:
        self.stack = stack
        self.clock: Clock = SystemClock()
        self.state_dir = Path(stack.base_dir) / STATE
        self.table_path = self.state_dir / "gateway" / f"{stack.name}.json"
        self.gateway_url = f"http://{stack.settings.gateway.listen}"
        self.cache = Layout(Path(stack.settings.model_cache.path).expanduser())
        self._command = command
        self._environ = environ
        self._ids = SystemIds()
        self._workers: dict[Pool, ThreadPoolExecutor] = {}

    def lock(self, timeout: float) -> AbstractContextManager[Holder]:
        """See the port."""
        return StateLock(self.state_dir, self._command, self.clock).acquire(timeout)

    @property
    def turns(self) -> StateLock:
        """See the port."""
        return StateLock(self.state_dir, self._command, self.clock, gives_way=True)

    @property
    def only_server(self) -> StateLock:
        """See the port."""
        return StateLock(self.state_dir, self._command, self.clock, name=f"serve-{self.stack.name}")

    @cached_property
    def store(self) -> Store:
        """See the port. What was odd about opening it is told on stderr."""
        self._make_state_dir()
        settings = self.stack.settings.state
        target = settings.url or self.state_dir / "state.db"
        store = Store.open(target, self.clock, history_limit=settings.history_limit)
        for warning in store.warnings:
            click.echo(f"warning: {warning}", err=True)
        return store

    @property
    def note(self) -> str:
        """See the port."""
        return f"{self._choice.driver} ({self._choice.why.partition(';')[0]})"

    @cached_property
    def session(self) -> Session:
        """See the port. Raises RuntimeUnreachable, StoreError, MachineError."""
        self._make_state_dir()
        runtime, host = self._choice.runtime, self._processes
        world = World(
            runtime=runtime,
            host=host,
            images=self._choice.images,
            artifacts=self.artifacts,
            routing=self.routing,
            keys=KeyFiles(self.table_path),
            prober=HttpProber(),
            secret=self.secret,
            redact=self._secrets.redact,
            fingerprint=lambda values: secrets.fingerprint(secrets.instance_key(self.state_dir), values),
            clock=self.clock,
            free_memory=available_memory,
            gpus=lambda replicas: gpu_use(nvml.devices(), replicas, self._choice.forgotten),
        )
        scene = Scene(
            set=self.stack.name,
            instance=self._instance,
            version=__version__,
            capabilities=runtime.capabilities(),
            table_path=str(self.table_path),
        )
        return Session(
            world=world,
            store=self.store,
            scene=scene,
            workers=self._pools(),
            clock=self.clock,
            op_id=self._ids.hex(8),
            actor=self.actor,
            command=self._command,
        )

    @cached_property
    def artifacts(self) -> Cache:
        """See the port."""
        return Cache(self.cache.root, self._means)

    @cached_property
    def catalog(self) -> Catalog:
        """See the port."""
        from nexus_ctl.artifacts.hub.catalog import Catalog

        return Catalog(self.cache, Means(self.clock, self._environ))

    @cached_property
    def routing(self) -> RoutingFile:
        """See the port."""
        return RoutingFile(self.table_path, self.gateway_url, shared=self.table_path.with_name(SHARED_TABLE))

    @property
    def actor(self) -> str:
        """See the port."""
        return f"{_user()}@{socket.gethostname()}"

    def secret(self, source: ValueFrom) -> str:
        """See the port."""
        return self._secrets.read(source)

    def usage(self, pids: list[int], seconds: float) -> Mapping[int, Usage]:
        """See the port."""
        return measure(pids, seconds, self.clock)

    def __enter__(self) -> LocalWorkspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._workers.values():
            pool.shutdown(wait=True, cancel_futures=True)
        if "store" in self.__dict__:
            self.store.close()

    @cached_property
    def _secrets(self) -> _KnownSecrets:
        return _KnownSecrets(self._environ)

    @cached_property
    def _instance(self) -> str:
        return instance_id(self.state_dir, self._ids)

    @cached_property
    def _means(self) -> Means:
        settings = self.stack.settings
        rate = settings.downloads.bytes_per_second
        return Means(
            self.clock,
            self._environ,
            free_memory=available_memory,
            throttle=Throttle(rate) if rate is not None else None,
            reserve_bytes=settings.model_cache.reserve,
            image_tools=ImageTools(self.cache.tools, self._llama_images(), self._programs),
        )

    def _programs(self) -> ContainerPrograms | None:
        """The runtime is opened when a tool is looked for, and not before."""
        return self._choice.programs()

    def _llama_images(self) -> tuple[str, ...]:
        """The images that deployments serve with llama.cpp, which may hold its other programs."""
        specs = [one.spec for ref, one in self.stack.resources.items() if ref.kind == "Deployment"]
        found = {launch(spec).image for spec in specs if spec.engine.llama_cpp is not None}
        return tuple(sorted(found - {""}))

    @cached_property
    def _processes(self) -> ProcessRuntime:
        programs = default_programs(self.stack.settings.runtime.llama_server or "")
        return ProcessRuntime(self.state_dir, self._instance, programs)

    @cached_property
    def _choice(self) -> Choice:
        driver = self.stack.settings.runtime.driver
        return open_runtime(driver, self.state_dir, self._instance, lambda: self._processes)

    def _pools(self) -> Mapping[Pool, Executor]:
        settings = self.stack.settings.parallelism
        sizes = {
            Pool.DOWNLOAD: settings.downloads,
            Pool.BUILD: BUILDERS,
            Pool.RUNTIME: settings.starts,
            Pool.ROUTING: ROUTING_WORKERS,
            Pool.WAIT: LOOKING_WORKERS,
        }
        self._workers = {pool: ThreadPoolExecutor(size, pool.value) for pool, size in sizes.items()}
        return self._workers

    def _make_state_dir(self) -> None:
        """The folder, with a note that keeps it out of git. Where it cannot be made, its first user says so."""
        with suppress(OSError):
            self.state_dir.mkdir(parents=True, exist_ok=True)
            ignore = self.state_dir / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="ascii")


class _KnownSecrets:
    """Reads secrets, and takes every value it has read out of any text."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._values: set[str] = set()

    def read(self, source: ValueFrom) -> str:
        value = secrets.resolve(source, environ=self._environ)
        self._values.add(value)
        return value

    def redact(self, text: str) -> str:
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, "***")
        return text


def available_memory(path: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that new processes may take without swapping, as the kernel estimates; None where it does not say."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

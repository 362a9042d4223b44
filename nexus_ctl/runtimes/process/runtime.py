"""ProcessRuntime: the runtime port on plain processes of this machine. `nexus_ctl/runtimes/process/__init__.py` shows
the files it keeps.

Called by execution and by observing, from many threads and many nexusctl processes at once. The rule: nothing is
remembered here; every answer is read from the replica's directory and the kernel.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from nexus_ctl.clock import Clock, Ids, SystemClock, SystemIds
from nexus_ctl.errors import NameInUse, NotFound, Refused, Retryable, RuntimeUnreachable, Terminal
from nexus_ctl.resources.adoption import Candidate
from nexus_ctl.resources.launch import Limits
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Exit, ObservedReplica, Replica, ReplicaState
from nexus_ctl.runtimes.port import Capabilities
from nexus_ctl.runtimes.process import launching, output
from nexus_ctl.runtimes.process import limits as process_limits
from nexus_ctl.runtimes.process.events import ProcessFeed
from nexus_ctl.runtimes.process.liveness import ALIVE, alone, is_halted, signal_supervisor, supervisor_pid
from nexus_ctl.runtimes.process.programs import LLAMA_SERVER, STAND_IN, build_of, resolve
from nexus_ctl.runtimes.process.record import Record, read_json, read_record, write_json, write_record
from nexus_ctl.runtimes.watch import Watch

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
LOG_BYTES = 16 * 1024 * 1024
"""Output kept of each replica; the oldest quarter goes when it is full."""
TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
"""What renaming a directory onto a name in use says."""
SUPERVISOR_SECONDS = 10.0
"""How long a supervisor may take beyond the grace before it is killed itself; its engine dies with it."""
UNWATCHED = "a process that somebody else started has no supervisor to tell how it ends"
FOLLOW_SECONDS = 0.05
"""Time between two looks of a log follower."""


class ProcessRuntime:
    """Replicas as detached processes that survive nexusctl. Linux only."""

    def __init__(
        self,
        state_dir: Path,
        instance: str,
        programs: Mapping[str, Sequence[str]],
        clock: Clock | None = None,
        *,
        ids: Ids | None = None,
        log_bytes: int = LOG_BYTES,
    ) -> None:
        self._root = state_dir.absolute() / "replicas"
        self._instance = instance
        self._programs = programs
        self._clock = clock or SystemClock()
        self._ids = ids or SystemIds()
        self._log_bytes = log_bytes

    def capabilities(self) -> Capabilities:
        refused: frozenset[str] = frozenset()
        if tuple(self._programs.get(LLAMA_SERVER, ())) == STAND_IN:
            from nexus_ctl.engines.llama_server.flags import unsupported_flags

            refused = unsupported_flags()
        return Capabilities(
            driver="process",
            fractional_cpu=False,
            gpus=False,
            images=False,
            refused_flags=refused,
            engine_build=build_of(self._programs.get(LLAMA_SERVER, ())),
        )

    def list(self) -> tuple[ObservedReplica, ...]:
        seen = [observed for name in self._names() if (observed := self.inspect(name))]
        return tuple(one for one in seen if one.owner and one.owner.instance == self._instance)

    def inspect(self, name: str) -> ObservedReplica | None:
        directory = self._root / name
        if not NAME.fullmatch(name) or not directory.is_dir():
            return None
        record = read_record(directory)
        if record is None:
            return ObservedReplica(name, "", None, ReplicaState.DEAD) if directory.is_dir() else None
        running = supervisor_pid(directory) is not None  # asked first: what ends in between is then seen as running
        run, ended = read_json(directory / "run.json"), read_json(directory / "exit.json")
        state = ReplicaState.RUNNING if running else ReplicaState.EXITED if run else ReplicaState.CREATED
        return ObservedReplica(
            name=name,
            runtime_id=record.runtime_id,
            owner=record.replica.owner,
            state=state,
            address=run.get("address", "") if running else "",
            exit=None if running else _exit(run, ended),
            started_at=datetime.fromtimestamp(run["startedAt"], UTC) if run else None,
            limits=record.replica.launch.limits,
            pid=run.get("pid") if running else None,
            ended_at=datetime.fromtimestamp(ended["endedAt"], UTC) if ended.get("endedAt") and not running else None,
            files=tuple(sorted(mount.source for mount in record.replica.launch.mounts)),
            paused=running and is_halted(run.get("pid", 0)),
        )

    def candidate(self, name: str) -> Candidate | None:
        found = self.inspect(name)
        return Candidate(found, refused=f"{name}: {UNWATCHED}") if found is not None else None

    def create(self, replica: Replica) -> None:
        if not NAME.fullmatch(replica.name):
            raise Terminal(f"{replica.name!r} cannot be the name of a replica")
        resolve(replica.launch.argv, self._programs)
        if replica.launch.gpus is not None:
            raise Terminal(f"{replica.name}: a process cannot be given GPUs of its own; use the Docker runtime")
        if words := process_limits.fault(replica.launch.limits):
            raise Terminal(f"{replica.name}: {words}")
        for mount in replica.launch.mounts:
            if not Path(mount.source).is_file():
                raise Terminal(f"{replica.name}: there is no file {mount.source!r} for {mount.target}")
        with self._translated(replica.name):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self._root / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._sweep()
                making = self._root / f".making-{self._ids.hex(6)}"
                making.mkdir(mode=0o700)
                (making / ALIVE).touch(mode=0o600)
                try:
                    write_record(making, Record(self._ids.hex(6), replica))
                    making.rename(self._root / replica.name)
                except OSError:
                    shutil.rmtree(making, ignore_errors=True)
                    raise

    def start(self, name: str, secrets: Mapping[str, str]) -> None:
        directory = self._directory(name)
        with self._translated(name), alone(directory):
            record = read_record(directory)
            if record is None:
                raise Refused(f"{name} has no record of ours")
            if supervisor_pid(directory) is not None:
                return
            launch = record.replica.launch
            if missing := sorted(set(launch.secret_env) - set(secrets)):
                raise Refused(f"{name}: no value for the secret {', '.join(missing)}")
            given = {variable: secrets[variable] for variable in launch.secret_env}
            launching.supervise(
                directory,
                launching.order_of(
                    launch,
                    given,
                    argv=resolve(launch.argv, self._programs),
                    cores=process_limits.choose_cores(launch.limits, self._pinned()),
                    log_bytes=self._log_bytes,
                ),
            )

    def stop(self, name: str, grace_seconds: float) -> None:
        directory = self._directory(name)
        if supervisor_pid(directory) is None:
            return
        with self._translated(name):
            (directory / "grace").write_text(str(grace_seconds), encoding="ascii")
        if not signal_supervisor(directory, signal.SIGTERM, grace_seconds + SUPERVISOR_SECONDS):
            signal_supervisor(directory, signal.SIGKILL, SUPERVISOR_SECONDS)

    def resume(self, name: str) -> None:
        directory = self._directory(name)
        pid = read_json(directory / "run.json").get("pid", 0)
        if supervisor_pid(directory) is not None and is_halted(pid):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGCONT)

    def remove(self, name: str) -> None:
        directory = self._directory(name)
        with self._translated(name), alone(directory):
            if supervisor_pid(directory) is not None:
                raise Refused(f"{name} is running")
            gone = self._root / f".removed-{self._ids.hex(6)}"
            directory.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def sweep(self, set_name: str) -> None:
        """Processes of a stack share nothing."""

    def adopt(self, name: str, runtime_id: str, owner: Ownership) -> None:
        raise Refused(f"{name}: {UNWATCHED}")

    def update(self, name: str, limits: Limits) -> None:
        directory = self._directory(name)
        if words := process_limits.fault(limits):
            raise Refused(f"{name}: {words}")
        with alone(directory):
            record = read_record(directory)
            if record is None:
                raise Refused(f"{name} has no record of ours")
            run = read_json(directory / "run.json")
            if supervisor_pid(directory) is not None and run:
                cores = process_limits.choose_cores(limits, self._pinned(but=name))
                process_limits.apply(run["pid"], limits, cores)
                write_json(directory / "run.json", run | {"cores": cores})
            write_record(directory, record.with_limits(limits))

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        directory = self._directory(name)
        position = output.position_of_first(directory) if tail is None else output.position_of_tail(directory, tail)
        rest = b""
        while True:
            last = not follow or supervisor_pid(directory) is None  # asked before reading: nothing said is missed
            for after, data in output.read_from(directory, position):
                position = after
                *lines, rest = (rest + data).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
            if last:
                break
            self._clock.sleep(FOLLOW_SECONDS)
        if rest:
            yield rest.decode(errors="replace")

    def progress(self, name: str) -> str:
        total = output.total_bytes(self._directory(name))
        return str(total) if total else ""

    def watch(self) -> Watch:
        return Watch(lambda _: ProcessFeed(self._root, self._names), lambda: True, clock=self._clock)

    def _names(self) -> Sequence[str]:
        try:
            return sorted(name for name in os.listdir(self._root) if not name.startswith("."))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise RuntimeUnreachable(f"{self._root} cannot be read: {error.strerror}") from error

    def _directory(self, name: str) -> Path:
        directory = self._root / name
        if not NAME.fullmatch(name) or not directory.is_dir():
            raise NotFound(f"there is no replica {name}")
        return directory

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        """The file system's errors as the port's."""
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(f"there is no replica {name}") from error
        except OSError as error:
            if error.errno in TAKEN:
                raise NameInUse(f"{name} exists in {self._root}") from error
            raise Retryable(f"{name}: {error}", hint=f"see the disk under {self._root}") from error

    def _sweep(self) -> None:
        """Removes what a killed creator or remover left; safe because every creator holds the lock that we hold."""
        for name in os.listdir(self._root):
            if name.startswith((".making-", ".removed-")):
                shutil.rmtree(self._root / name, ignore_errors=True)

    def _pinned(self, but: str = "") -> Iterator[int]:
        """Cores that running replicas are pinned to, once for each."""
        for name in self._names():
            if name != but and supervisor_pid(self._root / name) is not None:
                yield from read_json(self._root / name / "run.json").get("cores", ())


def _exit(run: Mapping[str, object], ended: Mapping[str, object]) -> Exit | None:
    """How the latest run ended; None for what never ran."""
    if ended:
        return Exit(
            code=int(str(ended["code"])),
            signal=int(str(ended["signal"])),
            out_of_memory=bool(ended["outOfMemory"]),
            error=str(ended["error"]),
        )
    return Exit(137, 9, error="the supervisor, or the machine, ended first") if run else None

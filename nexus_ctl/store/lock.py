"""One writer per state directory (R12): a lock the kernel holds, so that no crash can leave one behind.

The lock is `flock` on the open file `lock`; the kernel drops it when the process dies, however it dies. There is
nothing to force and nothing to clean. Beside it `lock.json` says who holds it, for people: it is read only to name the
holder of a lock that is in fact held, and never decides anything. Readers take no lock.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from nexus_ctl.clock import Clock, stamp
from nexus_ctl.errors import LockBusy, MachineError

TURN_SECONDS = 60.0
"""How long a holder that gives way is waited for, also by who does not want to wait: it is finishing one effect."""
NAMING_SECONDS = 0.5
"""How long it may take a holder to say its name."""
UNNAMED = "a process that has not said its name"
POLL_SECONDS = 0.05
"""Between two tries for a busy lock; `flock` itself cannot wait with a deadline."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock, as written by itself. `since` is RFC 3339, UTC."""

    pid: int
    user: str
    host: str
    command: str
    since: str
    gives_way: bool = False
    """Lets go of the lock soon when somebody waits for it: `nexusctl serve`."""
    turn: int = 0
    """How often the lock was taken so far, but for those who give way."""

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.user}@{self.host}) since {self.since}: {self.command}"


@dataclass(frozen=True, slots=True)
class StateLock:
    """The lock of one state directory, for one command."""

    state_dir: Path
    command: str
    clock: Clock
    gives_way: bool = False
    name: str = "lock"

    @contextmanager
    def acquire(self, timeout: float = 0.0) -> Iterator[Holder]:
        """Hold the lock within the block, after waiting at most `timeout` seconds for another holder.

        Raises LockBusy, naming the holder, or MachineError where the directory cannot be written. The descriptor is
        closed on exec, so engines that we start do not inherit the lock.
        """
        with _writable(self.state_dir):
            self.state_dir.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.state_dir / self.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._wait(descriptor, timeout)
            since = stamp(self.clock.now())
            turn = self.taken() + (not self.gives_way)
            holder = Holder(os.getpid(), _user(), socket.gethostname(), self.command, since, self.gives_way, turn)
            with _writable(self.state_dir):
                _write(self._sidecar, holder)
            yield holder
        finally:
            os.close(descriptor)

    @property
    def _sidecar(self) -> Path:
        return self.state_dir / f"{self.name}.json"

    def taken(self) -> int:
        """How often the lock was taken by who does not give way: several that take turns do not wake each other."""
        last = _last(self._sidecar)
        return last.turn if last is not None else 0

    def wanted(self) -> bool:
        """Whether anybody waits for the lock now."""
        with _writable(self.state_dir):
            descriptor = os.open(self._queue, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @property
    def _queue(self) -> Path:
        """Who waits holds a shared lock on this file: the kernel forgets a waiter that dies."""
        return self.state_dir / f"{self.name}.queue"

    def _wait(self, descriptor: int, timeout: float) -> None:
        if _locked(descriptor):
            return
        if self.gives_way:
            raise LockBusy(f"{self.state_dir} is held by {_read(self._sidecar) or UNNAMED}")
        with _writable(self.state_dir):
            queue = os.open(self._queue, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        began = self.clock.monotonic()
        try:
            fcntl.flock(queue, fcntl.LOCK_SH)
            while not _locked(descriptor):
                holder = _read(self._sidecar)
                patience = NAMING_SECONDS if holder is None else TURN_SECONDS if holder.gives_way else 0.0
                if self.clock.monotonic() - began >= max(timeout, patience):
                    raise LockBusy(
                        f"{self.state_dir} is held by {holder or UNNAMED}", hint="wait for it with --lock-timeout 60s"
                    )
                self.clock.sleep(POLL_SECONDS)
        finally:
            os.close(queue)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _writable(state_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "make the state directory writable for this user, on a disk that is not full"
        raise MachineError(f"{state_dir}: {error.strerror}", hint=hint) from error


def _write(sidecar: Path, holder: Holder) -> None:
    """Replace the note whole, so that nobody reads half of it. Only the holder of the lock writes."""
    fresh = sidecar.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(holder)))
    fresh.replace(sidecar)


def _read(sidecar: Path) -> Holder | None:
    """The note about the present holder; None where it is missing, unreadable, or of a process that is no more."""
    holder = _last(sidecar)
    if holder is not None and holder.host == socket.gethostname():
        try:
            os.kill(holder.pid, 0)
        except PermissionError:
            return holder
        except OSError:
            return None
    return holder


def _last(sidecar: Path) -> Holder | None:
    """The newest note, whether its process is there or not; None where it is missing or unreadable."""
    try:
        holder = Holder(**json.loads(sidecar.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return holder if isinstance(holder.pid, int) and isinstance(holder.turn, int) else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

"""Is it running? Asked of the kernel by lock, never by a pid that somebody else may bear by now.

A supervisor holds a POSIX lock on `alive` for its life. Unlike flock(2), that lock can be asked for without taking it
(so two askers never disturb each other or a starting supervisor), names its holder, and is not inherited by the engine.
Operations on one replica (start, remove, update) exclude each other by flock(2) on its directory.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nexus_ctl.errors import NotFound

ALIVE = "alive"
FLOCK = "hhqqi4x"
"""struct flock of Linux on 64-bit machines: type, whence, start, length, pid."""


def supervisor_pid(directory: Path) -> int | None:
    """Who holds the lock; None when nobody does, or there is no such replica."""
    try:
        file = os.open(directory / ALIVE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    finally:
        os.close(file)
    return None if kind == fcntl.F_UNLCK else int(pid)


def is_halted(pid: int) -> bool:
    """Whether somebody halted the process (SIGSTOP); False where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")
    except OSError:
        return False


def signal_supervisor(directory: Path, number: signal.Signals, seconds: float) -> bool:
    """Signals the holder of the lock and waits until it has ended; True when nobody holds it (any more).

    The pid is turned into a handle first and the lock asked again, so that the signal can only reach the holder.
    """
    pid = supervisor_pid(directory)
    if pid is None:
        return True
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if supervisor_pid(directory) != pid:
            return True
        signal.pidfd_send_signal(handle, number)
        waiter = select.poll()
        waiter.register(handle, select.POLLIN)
        return bool(waiter.poll(seconds * 1000))
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Excludes every other operation on this replica. Raises NotFound when it is not there (any more)."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"there is no replica {directory.name}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not _same(handle, directory):
            raise NotFound(f"there is no replica {directory.name}")
        yield
    finally:
        os.close(handle)


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False

"""Files of the cache: atomic writes, digests, room on disk, and locks that die with their process.

Everything that others may read appears whole or not at all: written beside its place, fsynced, renamed, and the
folder fsynced as well (R11 d).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nexus_ctl.clock import Clock
from nexus_ctl.errors import Terminal
from nexus_ctl.planning.sizes import human_bytes

CHUNK_BYTES = 1 << 20
TEMPORARY = ".tmp"


def write_atomic(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace `path` as a whole. Without `durable` a power cut may lose it, but never show half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=TEMPORARY)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None when there is no such file. Raises ValueError when it holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object")
    return value


def look(path: Path) -> os.stat_result | None:
    """What `stat` says; None when there is nothing (any more: other processes come and go here)."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def move(source: Path, target: Path) -> None:
    """Rename durably, within one file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
    sync_folder(target.parent)


def give_name(content: Path, name: Path) -> None:
    """Make `name` a hard link to `content`, unless it is one."""
    found = look(name)
    if found is not None and found.st_ino == content.stat().st_ino:
        return
    name.parent.mkdir(parents=True, exist_ok=True)
    draft = name.with_name(f"{name.name}.{os.getpid()}{TEMPORARY}")
    draft.unlink(missing_ok=True)
    os.link(content, draft)
    os.replace(draft, name)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Hex SHA-256 of a file; `progress` is told the bytes read so far."""
    return hash_file(path, hashlib.sha256(), progress)


def git_oid_of(path: Path) -> str:
    """The SHA-1 that git gives the file as a blob. Source: git-scm.com/book, Git Internals, Git Objects."""
    return hash_file(path, hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False))


def hash_file(path: Path, digest: hashlib._Hash, progress: Callable[[int], None] | None = None) -> str:
    """Feed the file to `digest`; its hex value."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    done = 0
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            done += count
            if progress is not None:
                progress(done)
    return digest.hexdigest()


def free_bytes(folder: Path) -> int:
    """Bytes this user may still write on the disk of `folder`, which need not be there yet."""
    here = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(here).free


def need_room(folder: Path, needed_bytes: int, what: str, reserve_bytes: int) -> None:
    """Raises Terminal, with the numbers, unless `needed_bytes` fit beside the reserve on the disk of `folder`."""
    free = free_bytes(folder)
    if needed_bytes + reserve_bytes > free:
        kept = f"of which {human_bytes(reserve_bytes)} are kept for everything else"
        raise disk_full(f"{what} needs {human_bytes(needed_bytes)}; {folder} has {human_bytes(free)} free, {kept}")


def disk_full(detail: str) -> Terminal:
    """The error for a disk without room."""
    return Terminal(detail, code="disk-full", hint="free some disk:\n  nexusctl models gc")


def is_full(error: OSError) -> bool:
    """True when the disk, or the user's share of it, is used up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def locked(
    path: Path, clock: Clock, waiting: Callable[[], None] = lambda: None, *, shared: bool = False
) -> Iterator[None]:
    """Hold the lock file `path`, waiting for whoever has it (process or thread); `waiting` is called meanwhile.

    `shared` with others who only want that nobody else holds it. The kernel drops the lock when its holder dies. The
    file itself stays: removing it would let two in.
    """
    with _lock_file(path) as handle:
        while not _take(handle, shared=shared):
            waiting()
            clock.sleep(0.1)
        yield


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock when nobody else does; the value says which."""
    with _lock_file(path) as handle:
        yield _take(handle)


@contextmanager
def _lock_file(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield handle
    finally:
        os.close(handle)


def _take(handle: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

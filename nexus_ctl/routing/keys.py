"""The keys that engines ask for, by replica, as files in memory: the adapter of `Keys`; the gateway reads them here.

Execution puts a key here when it starts or publishes a replica, and drops it with the replica; the gateway reads all of
them with each table. The table itself holds none: it lies on the disk. One key belongs to one replica, so that during a
change of the key the old replica is still asked by the old one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from nexus_ctl import volatile
from nexus_ctl.errors import MachineError


class KeyFiles:
    """Keys of those who are routed by the table at `table`; its path names the folder, so both sides find it."""

    def __init__(self, table: Path, memory: Path = volatile.MEMORY) -> None:
        self._memory = memory
        self._name = f"keys-{hashlib.sha256(os.fsencode(table.absolute())).hexdigest()[:16]}"

    @property
    def folder(self) -> Path:
        """Where they lie, made or not."""
        return volatile.own_folder(self._memory) / self._name

    def put(self, replica: str, key: str) -> None:
        """Keep a replica's key. Raises Terminal where nothing stays in memory, MachineError where there is no room."""
        volatile.made(self._memory)
        fresh = self.folder / f".{replica}"
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            fresh.touch(mode=0o600)
            fresh.write_text(key, encoding="ascii")
            fresh.replace(self.folder / replica)
        except OSError as error:
            raise MachineError(f"cannot keep a key in {self.folder}: {error.strerror}") from error

    def drop(self, replica: str) -> None:
        """Forget it; none is no error. The folder stays: somebody may be putting another key there."""
        (self.folder / replica).unlink(missing_ok=True)

    def of(self, replica: str) -> str:
        """A replica's key; "" where there is none."""
        try:
            return (self.folder / replica).read_text(encoding="ascii")
        except OSError:
            return ""

    def changed_ns(self) -> int:
        """When a key came or went last, in nanoseconds; 0 where there never was one."""
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return 0

    def all(self) -> Mapping[str, str]:
        """Every key by replica."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if not name.startswith("."))
        except OSError:
            return {}
        found = {name: self.of(name) for name in names}
        return {name: key for name, key in found.items() if key}

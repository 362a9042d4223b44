"""Secret values on their way into a container, in this machine's memory and nowhere else.

A container's environment is readable to everyone who may inspect it, so a secret is not put there. Its values lie as
`export` lines in a file on a tmpfs, mounted read-only; a shell inside reads it and becomes the engine. The file exists
from start to stop. The folder above is closed to other users of the machine; the file itself must be readable to
whatever user the image runs as. See docs/decisions for what else was considered.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from nexus_ctl.errors import Terminal

MEMORY = Path("/dev/shm")


class SecretFiles:
    """The folders of all replicas of this user."""

    def __init__(self, memory: Path = MEMORY) -> None:
        self._memory = memory
        self._root = memory / f"nexusctl-{os.getuid()}"

    def folder(self, name: str) -> Path:
        """The folder that is mounted into `name`, made if missing. Raises Terminal where nothing stays in memory."""
        if not _is_tmpfs(self._memory):
            raise Terminal(
                f"{name}: secrets are handed to containers in memory, and {self._memory} is not a tmpfs here",
                hint="give the engine the secret in a file of its own, or use runtime.driver: process",
            )
        self._root.mkdir(mode=0o700, exist_ok=True)
        if self._root.stat().st_uid != os.getuid():
            raise Terminal(f"{self._root} belongs to another user", hint=f"have it removed:  sudo rm -r {self._root}")
        folder = self._root / name
        folder.mkdir(mode=0o755, exist_ok=True)
        folder.chmod(0o755)
        return folder

    def write(self, name: str, values: Mapping[str, str]) -> None:
        """Put the values where the next start of `name` reads them."""
        fresh = self.folder(name) / ".env"
        fresh.write_text("".join(f"export {key}={shlex.quote(value)}\n" for key, value in sorted(values.items())))
        fresh.chmod(0o444)
        fresh.replace(fresh.with_name("env"))

    def forget(self, name: str) -> None:
        """Remove the values; the folder stays, for it is mounted."""
        (self._root / name / "env").unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove the folder."""
        shutil.rmtree(self._root / name, ignore_errors=True)


def _is_tmpfs(path: Path) -> bool:
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return False
    return any(line.split()[1:3] == [str(path), "tmpfs"] for line in mounts)

"""Secret values on their way into a container, in this machine's memory and nowhere else.

A container's environment is readable to everyone who may inspect it, so a secret is not put there. Its values lie as
`export` lines in a file on a tmpfs, mounted read-only; a shell inside reads it and becomes the engine. The file exists
from start to stop. The folder above is closed to other users of the machine; the file itself must be readable to
whatever user the image runs as. See docs/decisions for what else was considered.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from nexus_ctl import volatile


class SecretFiles:
    """The folders of all replicas of this user."""

    def __init__(self, memory: Path = volatile.MEMORY) -> None:
        self._memory = memory
        self._root = volatile.own_folder(memory)

    def folder(self, name: str) -> Path:
        """The folder that is mounted into `name`, made if missing. Raises Terminal where nothing stays in memory."""
        folder = volatile.made(self._memory) / name
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

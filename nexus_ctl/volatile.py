"""Files that lie in this machine's memory only, and are this user's alone: where secret values may stand.

Ground for those who hand secrets on: containers (`runtimes/docker/secrets.py`) and the gateway (`routing/keys.py`). The
rule: a value that is put here never reaches a disk, and is gone with the next start of the machine.
"""

from __future__ import annotations

import os
from pathlib import Path

from nexus_ctl.errors import Terminal

MEMORY = Path("/dev/shm")


def own_folder(memory: Path = MEMORY) -> Path:
    """This user's folder, made or not; nobody else may look into it."""
    return memory / f"nexusctl-{os.getuid()}"


def made(memory: Path = MEMORY) -> Path:
    """The same, made if missing. Raises Terminal where nothing stays in memory, or somebody else has taken its name."""
    folder = own_folder(memory)
    if not _is_tmpfs(memory):
        raise Terminal(
            f"secrets are handed on in memory, and {memory} is not a tmpfs here",
            hint="give the engine the secret in a file of its own, or use runtime.driver: process",
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise Terminal(f"{folder} belongs to another user", hint=f"have it removed:  sudo rm -r {folder}")
    return folder


def _is_tmpfs(path: Path) -> bool:
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return False
    return any(line.split()[1:3] == [str(path), "tmpfs"] for line in mounts)

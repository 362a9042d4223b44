"""Processes of containers that the engine no longer knows: what a crashed engine may leave behind, GPU memory in hand.

Read from the control groups of this machine's processes. The rule: they are named, never killed; an id that this engine
does not know may be another engine's container.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CONTAINER_ID = re.compile(r"[/-]([0-9a-f]{64})(?:\.scope)?$", re.MULTILINE)
"""How a container's id stands at the end of its control group, on cgroup v1 and v2."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A process in a container that the engine does not list. `command` is its command line, words by spaces."""

    pid: int
    container_id: str
    command: str


def forgotten(known_ids: Collection[str], proc: Path = Path("/proc")) -> tuple[Forgotten, ...]:
    """All of them by pid. A process that ends while being looked at is left out."""
    found = []
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            ids = CONTAINER_ID.findall((folder / "cgroup").read_text(encoding="utf-8"))
            if ids and ids[0] not in known_ids:
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                found.append(Forgotten(int(folder.name), ids[0], " ".join(words).strip()))
    return tuple(sorted(found, key=lambda one: one.pid))

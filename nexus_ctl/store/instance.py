"""The id of an install: random, one per state directory, on the label of everything it makes (R8).

It is a file of its own, not a row: the database may be lost and made again, while whose containers are whose must
never change. Created once, whole or not at all, whoever asks first.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from nexus_ctl.clock import Ids
from nexus_ctl.errors import MachineError

INSTANCE = re.compile(r"[0-9a-f]{12}")


def instance_id(state_dir: Path, ids: Ids) -> str:
    """The 12 hex digits of this state directory, made where there are none yet.

    Raises MachineError where the file cannot be made or holds something else; a new id is never made over an old one,
    for that would orphan every container.
    """
    file = state_dir / "instance"
    try:
        if not file.exists():
            state_dir.mkdir(parents=True, exist_ok=True)
            _create(file, ids.hex(6))
        found = file.read_text(errors="replace").strip()
    except OSError as error:
        raise MachineError(
            f"{file}: {error.strerror}", hint="make the state directory writable, on a disk that is not full"
        ) from error
    if INSTANCE.fullmatch(found) is None:
        raise MachineError(
            f"{file} does not hold an instance id (12 hex digits)",
            hint="write back the id that is on the label nexusctl/instance of what this install made",
        )
    return found


def _create(file: Path, text: str) -> None:
    """Write aside, then link: the name appears with its content on the disk, or already belongs to a faster process."""
    descriptor, aside = tempfile.mkstemp(dir=file.parent, prefix=".instance-")
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(aside, 0o644)
        os.link(aside, file)
    except FileExistsError:
        return
    finally:
        os.unlink(aside)

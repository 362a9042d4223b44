"""Taking one file out of a zip: by its exact name, into a place of ours, never where the archive says."""

from __future__ import annotations

import difflib
import hashlib
import os
import zipfile
import zlib
from pathlib import Path

from nexus_ctl.artifacts.disk import CHUNK_BYTES, need_room
from nexus_ctl.errors import IntegrityError, Terminal
from nexus_ctl.resources.artifact import Progress, ProgressSink


def extract(archive: Path, name: str, member: str, target: Path, *, progress: ProgressSink, reserve_bytes: int) -> str:
    """Write the member to `target`, fsynced; its hex SHA-256. `name` is the archive's, for people.

    Raises Terminal when the archive has no such file or the disk no room for it, IntegrityError when it is damaged.
    """
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(archive) as bundle:
            info = _find(bundle, name, member)
            need_room(target.parent, info.file_size, member, reserve_bytes)
            with bundle.open(info) as stream, open(target, "wb") as file:
                done = 0
                while chunk := stream.read(CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
                    done += len(chunk)
                    progress(Progress("extract", done, info.file_size))
                file.flush()
                os.fsync(file.fileno())
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise IntegrityError(f"{name}: {error}") from error
    except (NotImplementedError, RuntimeError) as error:
        raise Terminal(f"{name}: {member} cannot be read: {error}") from error
    return digest.hexdigest()


def _find(bundle: zipfile.ZipFile, name: str, member: str) -> zipfile.ZipInfo:
    try:
        info = bundle.getinfo(member)
    except KeyError as error:
        near = difflib.get_close_matches(member, bundle.namelist(), n=1, cutoff=0.6)
        raise Terminal(
            f"{name} holds no {member}",
            hint=f"did you mean {near[0]}?" if near else "",
            code="no-such-source",
        ) from error
    if info.is_dir():
        raise Terminal(f"{member} is a folder of {name}, not a file")
    return info

"""A repository's configuration and tensor table, of files that are here or by a few range requests each.

Called by the cache (for plans) and by the registry, before anything is downloaded; over `Folder`, so that disk and
network are the same. The rule: what vLLM would load is what is counted, and a table that was read over the network is
remembered by the file's digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from nexus_ctl.artifacts.headers.folder import Folder, local
from nexus_ctl.artifacts.headers.safetensors import merge_files, read_header
from nexus_ctl.artifacts.headers.window import BadHeader, Read
from nexus_ctl.artifacts.shelf import Shelf, key_of
from nexus_ctl.artifacts.source import Means, Part
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.weights import SafetensorsHeader, Tensor

CONFIG, INDEX, SUFFIX = "config.json", "model.safetensors.index.json", ".safetensors"
AT_ONCE = 4
"""Files whose tables are read at the same time: large models have a hundred."""


def read_checkpoint(folder: Folder, shelf: Shelf | None = None, digests: Mapping[str, str] | None = None) -> Checkpoint:
    """What a repository says of its model; `digests` by file, of those that may be remembered on `shelf`.

    Raises BadHeader where a file is not what it should be, or the repository is no such model, and as its reads do.
    """
    counted = _Counted()
    folder = Folder({name: (counted.over(read), size) for name, (read, size) in folder.files.items()})
    try:
        config, names = folder.table(CONFIG), loaded(folder)
    except (ValueError, RecursionError) as error:
        raise BadHeader(str(error)) from error
    if not config or not names:
        raise BadHeader(f"the repository has no {CONFIG if not config else 'safetensors file'}")

    def table(name: str) -> SafetensorsHeader:
        digest = (digests or {}).get(name)
        key = f"{key_of(digest)}.tensors" if digest is not None else ""
        known = _remembered(shelf.read(key)) if shelf is not None and key else None
        if known is not None:
            return known
        found = read_header(*folder.files[name])
        if shelf is not None and key:
            shelf.write(key, _to_json(found))
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        weights = merge_files(pool.map(table, names))
    return Checkpoint(config, weights, counted.requests, counted.bytes_read)


def loaded(folder: Folder) -> Sequence[str]:
    """The files of weights that vLLM loads: those of the index where there is one, else all of the top folder, without
    a second copy in Mistral's own form. Raises ValueError for an index that is none, or whose files are not there."""
    names = sorted(name for name in folder.files if name.endswith(SUFFIX) and "/" not in name)
    index = folder.table(INDEX).get("weight_map")
    if isinstance(index, dict):
        wanted = {str(name) for name in index.values()}
        if missing := wanted.difference(names):
            raise ValueError(f"{INDEX} names {min(missing)}, which is not there")
        return sorted(wanted)
    return [name for name in names if not name.startswith("consolidated")] or names


def local_checkpoint(folder: Path) -> Checkpoint:
    """That of a folder of this machine. Raises BadHeader and OSError."""
    found = read_checkpoint(local({path.name: path for path in folder.iterdir() if path.is_file()}))
    return replace(found, requests=0, bytes_read=0)


def remote_checkpoint(parts: Sequence[Part], token: str | None, means: Means, shelf: Shelf) -> Checkpoint:
    """That of a repository which is not here. Raises BadHeader, Terminal and Retryable."""
    from nexus_ctl.artifacts.headers.remote import remote_folder

    digests = {part.name: part.sha256 for part in parts if part.sha256 is not None}
    return read_checkpoint(remote_folder(parts, token, means), shelf, digests)


@dataclass(slots=True)
class _Counted:
    """What reading cost."""

    _sizes: list[int] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self._sizes)

    @property
    def bytes_read(self) -> int:
        return sum(self._sizes)

    def over(self, read: Read) -> Read:
        def reading(offset: int, length: int) -> bytes:
            found = read(offset, length)
            self._sizes.append(len(found))
            return found

        return reading


def _to_json(header: SafetensorsHeader) -> dict[str, object]:
    rows = [[one.name, one.dims, one.type, one.size_bytes] for one in header.tensors]
    return {"tensors": rows, "dataOffset": header.data_offset, "fileBytes": header.file_bytes}


def _remembered(value: Mapping[str, object] | None) -> SafetensorsHeader | None:
    """The table as it was written; None for anything else."""
    match value:
        case {"tensors": list(rows), "dataOffset": int(offset), "fileBytes": int(size)}:
            try:
                tensors = tuple(Tensor(name, tuple(dims), kind, count) for name, dims, kind, count in rows)
            except (TypeError, ValueError):
                return None
            return SafetensorsHeader(tensors, {}, offset, size)
        case _:
            return None

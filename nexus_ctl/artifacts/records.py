"""The cache on disk: where things lie, and the records and pins as values and files.

    blobs/sha256-<hex>                    content, verified; whole or not there
    sets/<hex>/<name>                     several files of one artifact under their own names: hard links to blobs
    records/<key>.json                    provenance: which request brought which blobs, from where, when
    partial/<key>.<part>.part, .json      unfinished downloads
    partial/<address>.build/              unfinished builds
    tools/<image>.json                    where container images hold tools
    pins/<instance>-<set>/<model>.json    which stack uses what
    memo/  locks/  bad/                   digests by stat; one lock a request; what failed its check
    hub/                                  what the hub answered about models (`hub/memory`)
    upstream/<key>.json                   what a followed branch named when it was last looked at

A record or pin that cannot be read is moved to `bad/` and counts as absent: the cache never refuses to work (R11 e).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nexus_ctl.artifacts.disk import TEMPORARY, move, read_json, write_atomic
from nexus_ctl.resources.artifact import Pin
from nexus_ctl.resources.normal import digest


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of an artifact; its bytes are the blob of its digest. `name` is relative, with `/`."""

    name: str
    sha256: str
    size_bytes: int
    shared: str = ""
    """The link to it that we put into the Hugging Face client's cache, if any."""
    git_oid: str = ""
    """The digest the source stated, where that was git's own."""


@dataclass(frozen=True, slots=True)
class Built:
    """How an artifact was made of others. `inputs` are digests by request; `address` names input, recipe and tool."""

    address: str
    inputs: dict[str, str]
    recipe: dict[str, Any]
    tool: str


@dataclass(frozen=True, slots=True)
class Record:
    """Provenance of a delivered request; never a secret."""

    key: str
    request: dict[str, Any]
    origin: str
    identity: str
    files: tuple[StoredFile, ...]
    fetched_at: str
    """UTC, ISO 8601."""
    version: str
    """The nexusctl that fetched it."""
    hub: dict[str, str] | None = None
    """Repository, revision and commit of a hub source."""
    built: dict[str, Any] | None = None
    """`Built`, of what was made here and not delivered."""

    @property
    def sha256(self) -> str:
        """Of the one file; of the list of names and digests when there are several."""
        if len(self.files) == 1:
            return self.files[0].sha256
        return digest([[file.name, file.sha256] for file in self.files], 64)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one cache."""

    root: Path

    def blob(self, sha256: str) -> Path:
        return self.root / "blobs" / f"sha256-{sha256}"

    def set_folder(self, record: Record) -> Path:
        """Where the files of a record stand under their own names."""
        return self.root / "sets" / record.sha256[:32]

    def links(self, record: Record, sha256: str) -> tuple[Path, ...]:
        """The names besides the blob's that we may have given to this content of `record`."""
        mine = [file for file in record.files if file.sha256 == sha256]
        named = [self.set_folder(record) / file.name for file in mine] if len(record.files) > 1 else []
        return (*named, *(Path(file.shared) for file in mine if file.shared))

    def record(self, key: str) -> Path:
        return self.root / "records" / f"{key}.json"

    def partial(self, key: str, part: str) -> Path:
        return self.root / "partial" / f"{key}.{digest(part, 8)}.part"

    def building(self, address: str) -> Path:
        """Where a build writes, in a folder of its own. That one's name says to `collect` which lock guards it."""
        return self.root / "partial" / f"{address}.build" / f"model{TEMPORARY}"

    def lock(self, key: str) -> Path:
        return self.root / "locks" / key

    def digests(self) -> frozenset[str]:
        """`sha256:<hex>` of all content that is here."""
        return frozenset(path.name.replace("-", ":", 1) for path in (self.root / "blobs").glob("sha256-*"))

    @property
    def tools(self) -> Path:
        """Where container images hold tools; may be removed at any time."""
        return self.root / "tools"

    def upstream(self, key: str) -> Path:
        return self.root / "upstream" / f"{key}.json"

    @property
    def memo(self) -> Path:
        return self.root / "memo"

    @property
    def pins_lock(self) -> Path:
        """Held while a pin is written or something unpinned removed, so that neither overtakes the other."""
        return self.root / "locks" / "pins"

    @property
    def hub(self) -> Path:
        """What the hub answered; may be removed at any time."""
        return self.root / "hub"

    def bad(self, name: str) -> Path:
        return self.root / "bad" / name

    def pin(self, pin: Pin) -> Path:
        return self.pins_folder(pin.instance, pin.set) / f"{pin.model}.json"

    def pins_folder(self, instance: str, set_name: str) -> Path:
        return self.root / "pins" / f"{instance}-{set_name}"

    def read_record(self, key: str) -> Record | None:
        return self._read_record(self.record(key))

    def records(self) -> Iterator[Record]:
        """All records, sorted by key."""
        for path in sorted((self.root / "records").glob("*.json")):
            record = self._read_record(path)
            if record is not None:
                yield record

    def write_record(self, record: Record) -> None:
        write_atomic(self.record(record.key), json.dumps(asdict(record), indent=1))

    def read_pins(self, folder: str = "*") -> Iterator[Pin]:
        """The pins of one folder, or of all stacks; sorted by file."""
        for path in sorted((self.root / "pins").glob(f"{folder}/*.json")):
            value = self._read(path)
            if value is not None:
                try:
                    yield Pin(**value)
                except TypeError:
                    self.set_aside(path)

    def write_pin(self, pin: Pin) -> None:
        write_atomic(self.pin(pin), json.dumps(asdict(pin), indent=1))

    def set_aside(self, path: Path) -> None:
        """Move something that failed its check to `bad/`."""
        if path.exists():
            move(path, self.bad(path.name))

    def _read_record(self, path: Path) -> Record | None:
        value = self._read(path)
        if value is None:
            return None
        try:
            return Record(**{**value, "files": tuple(StoredFile(**file) for file in value["files"])})
        except (TypeError, KeyError):
            self.set_aside(path)
            return None

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            return read_json(path)
        except ValueError:
            self.set_aside(path)
            return None

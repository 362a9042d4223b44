"""`nexus.lock` on disk: text → Lock with the place of everything in it, Lock → text, and what the manifests contradict.

Called by `stack` (read, contradictions) and by `models lock` and `apply` (write). The rules: equal locks are equal
text, sorted and one fact a line, so that two people's changes merge; it is replaced as a whole or not at all; a file
that nexusctl did not write is refused with line and column, never half believed.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nexus_ctl.errors import Diagnostic, MachineError
from nexus_ctl.manifest import files, nodes, source
from nexus_ctl.manifest.nodes import Entry, Faults, Map, Node, Place, Scalar, Sequence
from nexus_ctl.resources.declared import dotted
from nexus_ctl.resources.lock import Lock, Locked, LockedBuild, LockedFile, contradictions
from nexus_ctl.resources.model import ModelSpec
from nexus_ctl.resources.quantization import FILE_TYPES

VERSION, WITH_BUILDS = 1, 2
"""What is written where no model is built, which older releases read as well; and where one is. Both are read."""
HEADER = "# What the models and images of this stack are, to the byte. Commit it; `nexusctl models lock` writes it.\n"
WAY_OUT = "take it back from version control, or remove it and run\nnexusctl models lock"
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|git:[0-9a-f]{40}")
_KEY = re.compile(r"[0-9a-f]{64}")
_TYPES = {"convert": re.compile(r"f32|f16|bf16"), "quantize": re.compile("|".join(FILE_TYPES))}
"""The steps, and what each may make."""
_TOOL = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,200}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_NAME = re.compile(r"(?!/)(?!.*(?:^|/)\.{0,2}(?:/|$))[^\x00-\x1f]+")
"""A file's name within its artifact: relative, and never out of it."""


def path_of(manifest: str, environment: str | None) -> str:
    """Where the lock of a stack lies: beside the manifest that declares the Stack, and named like it, so that two
    stacks of one folder have two. Each environment has one of its own, since it may ask for other bytes."""
    folder, name = os.path.split(manifest)
    stem = os.path.splitext(name)[0]
    return os.path.join(folder, f"{stem}.{environment}.lock" if environment else f"{stem}.lock")


@dataclass(frozen=True, slots=True)
class LockFile:
    """A lock as it was read: the value, where each entry stands, and the bytes' own name."""

    lock: Lock
    places: Mapping[str, Place]
    """Where each Model's entry begins."""


def read(path: str, faults: Faults, seen: Callable[[str, bytes], None]) -> LockFile | None:
    """The lock at `path`; None when there is none. What it cannot be is handed over, and then left out."""
    try:
        data = files.read_at_most(path, source.MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}", hint="make the lock file readable") from error
    seen(os.path.realpath(path), data)
    return parse(data, files.shown(path), path, faults)


def parse(data: bytes, name: str, path: str, faults: Faults) -> LockFile:
    """The lock that `data` says."""
    reader = _Reader(faults)
    before = len(reader.found)
    documents = source.read(data, name, path, reader.foreign)
    top = documents[0] if documents else None
    place = top.place if top is not None else Place(nodes.Source(name, path), 1, 1)
    if len(documents) != 1 or not isinstance(top, Map):
        if len(reader.found) == before:
            reader.bad(place, "not one mapping")
        return LockFile(Lock(), {})
    rows = reader.fields(top, place, "", {"version", "models", "images"}, {"version"})
    if "version" in rows and reader.text(rows["version"], "version") not in (str(VERSION), str(WITH_BUILDS)):
        detail = "written by a newer nexusctl, or by something else"
        hint = f"this nexusctl reads versions {VERSION} and {WITH_BUILDS}; use the one that wrote it"
        faults(reader.place(rows["version"]).fault("lock-version", detail, path="version", hint=hint))
        return LockFile(Lock(), {})
    listed = dict(reader.rows(rows.get("models"), "models"))
    pulled = dict(reader.rows(rows.get("images"), "images"))
    models = {name: reader.model(listed[name], name) for name in sorted(listed)}
    images = {name: reader.text(pulled[name], f"images.{name}", _SHA256) for name in sorted(pulled)}
    lock = Lock(
        {name: entry for name, entry in models.items() if entry is not None},
        {name: digest for name, digest in images.items() if digest},
    )
    return LockFile(lock, {name: entry.key_place for name, entry in listed.items()})


class _Reader:
    """Nodes → values; every fault is handed over with its place and the way out."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.found: list[Diagnostic] = []

    def foreign(self, fault: Diagnostic) -> None:
        """A fault of the YAML itself."""
        self.found.append(fault)
        self._faults(fault)

    def bad(self, place: Place, detail: str, path: str = "") -> None:
        self.foreign(place.fault("bad-lock", detail, path=path, hint=WAY_OUT))

    def place(self, entry: Entry) -> Place:
        return entry.node.place if isinstance(entry.node, Scalar) else entry.key_place

    def fields(
        self, node: Node, place: Place, path: str, known: Iterable[str], required: Iterable[str]
    ) -> Mapping[str, Entry]:
        """The entries of a map whose keys are given."""
        if not isinstance(node, Map):
            self.bad(place, "wants an object", path)
            return {}
        for key, entry in node.entries.items():
            if key not in known:
                self.bad(entry.key_place, f"no field {key!r} here", f"{path}.{key}".lstrip("."))
        for key in required:
            if key not in node.entries:
                self.bad(place, f"{key!r} is missing", path)
        return {key: entry for key, entry in node.entries.items() if key in known}

    def rows(self, entry: Entry | None, path: str) -> Iterable[tuple[str, Entry]]:
        """The entries of a map whose keys are names; none for what is left out or empty."""
        if entry is None or (isinstance(entry.node, Scalar) and entry.node.is_null):
            return ()
        if not isinstance(entry.node, Map):
            self.bad(self.place(entry), "wants an object", path)
            return ()
        return entry.node.entries.items()

    def text(self, entry: Entry, path: str, form: re.Pattern[str] | None = None) -> str:
        """A scalar of a form; "", the fault handed over, for anything else. Read as written, whatever it looks like."""
        if isinstance(entry.node, Scalar) and (form is None or form.fullmatch(entry.node.text)):
            return entry.node.text
        self.bad(self.place(entry), "not of the form that nexusctl writes", path)
        return ""

    def model(self, entry: Entry, name: str) -> Locked | None:
        before, path = len(self.found), f"models.{name}"
        known = {"source", "commit", "files", "builds"}
        rows = self.fields(entry.node, entry.key_place, path, known, {"source", "files"})
        commit = self.text(rows["commit"], f"{path}.commit", _COMMIT) if "commit" in rows else ""
        within = self.rows(rows.get("files"), f"{path}.files")
        listed = {key: self._file(row, key, f"{path}.files") for key, row in within}
        if "files" in rows and not listed:
            self.bad(rows["files"].key_place, "no file", f"{path}.files")
        if "source" in rows and not isinstance(rows["source"].node, Map):
            self.bad(self.place(rows["source"]), "wants an object", f"{path}.source")
        builds = tuple(self._builds(rows["builds"], f"{path}.builds")) if "builds" in rows else ()
        if len(self.found) > before:
            return None
        return Locked(nodes.plain(rows["source"].node, self.foreign), dict(sorted(listed.items())), commit, builds)

    def _builds(self, entry: Entry, path: str) -> Iterator[LockedBuild]:
        if not isinstance(entry.node, Sequence):
            self.bad(self.place(entry), "wants a list", path)
            return
        for number, node in enumerate(entry.node.items):
            yield self._build(node, f"{path}[{number}]")

    def _build(self, node: Node, path: str) -> LockedBuild:
        rows = self.fields(node, node.place, path, {*_TYPES, "key", "tool", "size", "digest"}, {"key", "tool"})
        steps = [step for step in _TYPES if step in rows]
        if len(steps) != 1:
            self.bad(node.place, f"exactly one of {', '.join(_TYPES)}", path)
            return LockedBuild("", "", "", "")
        forms = {steps[0]: _TYPES[steps[0]], "key": _KEY, "tool": _TOOL, "size": _SIZE, "digest": _SHA256}
        said = {key: self.text(rows[key], f"{path}.{key}", form) for key, form in forms.items() if key in rows}
        size = int(said["size"] or 0) if "size" in said else None
        return LockedBuild(
            steps[0], said[steps[0]], said.get("key", ""), said.get("tool", ""), size, said.get("digest", "")
        )

    def _file(self, entry: Entry, name: str, path: str) -> LockedFile:
        if not _NAME.fullmatch(name):
            self.bad(entry.key_place, "not a name within the model", f"{path}.{name}")
        rows = self.fields(entry.node, entry.key_place, f"{path}.{name}", {"size", "digest"}, {"size", "digest"})
        size = self.text(rows["size"], f"{path}.{name}.size", _SIZE) if "size" in rows else ""
        digest = self.text(rows["digest"], f"{path}.{name}.digest", _DIGEST) if "digest" in rows else ""
        return LockedFile(int(size or 0), digest)


def check(
    found: LockFile, declared: Iterable[tuple[str, ModelSpec, Callable[[nodes.Path], Place]]], faults: Faults
) -> None:
    """Hand over every field of a Model that asks for something else than its entry pins, with both places.

    `declared` gives each Model's name, spec, and where a field of its document stands.
    """
    for name, spec, place in declared:
        entry = found.lock.models.get(name)
        for field in contradictions(entry, spec) if entry is not None else ():
            path = ("spec", *field)
            pinned = f"{found.places[name].location} pins {_pinned(entry, field)}" if entry is not None else ""
            hint = f"to pin what is asked for now, run\nnexusctl models lock {name}"
            faults(place(path).fault("lock-contradicted", pinned, path=dotted(path), hint=hint))


def _pinned(entry: Locked, field: tuple[str, ...]) -> str:
    if field == ("sha256",):
        return f"sha256 {entry.sha256}"
    if field[0] in _TYPES:
        return ", ".join(f"{build.step}.type {build.type!r}" for build in entry.builds)
    value: Any = {"source": entry.source}
    for key in field:
        value = value.get(key) if isinstance(value, Mapping) else None
    return f"{'.'.join(field)} {value!r}" if value is not None else f"no {'.'.join(field)}"


def text(lock: Lock) -> str:
    """The one text of a lock."""
    value: dict[str, Any] = {
        "version": WITH_BUILDS if any(entry.builds for entry in lock.models.values()) else VERSION,
        "models": {name: _entry(lock.models[name]) for name in sorted(lock.models)},
        "images": dict(sorted(lock.images.items())),
    }
    value = {key: part for key, part in value.items() if part}
    return HEADER + yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1 << 16)


def _entry(entry: Locked) -> dict[str, Any]:
    listed = {name: {"size": file.size_bytes, "digest": file.digest} for name, file in sorted(entry.files.items())}
    commit = {"commit": entry.commit} if entry.commit else {}
    builds = {"builds": [_build(build) for build in entry.builds]} if entry.builds else {}
    return {"source": _sorted(entry.source), **commit, "files": listed, **builds}


def _build(build: LockedBuild) -> dict[str, Any]:
    known = {"size": build.size_bytes, "digest": build.digest or None}
    return {
        build.step: build.type,
        "key": build.key,
        "tool": build.tool,
        **{key: value for key, value in known.items() if value is not None},
    }


def _sorted(value: Any) -> Any:
    return {key: _sorted(value[key]) for key in sorted(value)} if isinstance(value, Mapping) else value


def write(path: str, lock: Lock) -> bool:
    """Make `path` say `lock`, at once and durably; False when it says so already. Raises MachineError."""
    wanted = text(lock).encode("utf-8")
    target = Path(path)
    try:
        if target.exists() and target.read_bytes() == wanted:
            return False
        handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(handle, "wb") as stream:
                stream.write(wanted)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(draft, target.stat().st_mode & 0o777 if target.exists() else 0o644)
            os.replace(draft, target)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}", hint="make the stack's folder writable") from error
    return True

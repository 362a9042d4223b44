"""The files of one replica: `record.json` and its directory, read and written so that nobody sees half of it.

Called by `runtime.py` only. The rule: a file is written under another name, synced and renamed; values that came from a
secret never reach this module.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nexus_ctl.resources.launch import LaunchSpec, Limits, Mount
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Replica
from nexus_ctl.resources.secret import ValueFrom

RECORD = "record.json"


@dataclass(frozen=True, slots=True)
class Record:
    """One replica as created. `replica.launch.limits` are the limits now, also after an update."""

    runtime_id: str
    replica: Replica

    def with_limits(self, limits: Limits) -> Record:
        """The same, with other limits."""
        return replace(self, replica=replace(self.replica, launch=replace(self.replica.launch, limits=limits)))


def write_record(directory: Path, record: Record) -> None:
    """Puts `record.json` into the directory, atomically and synced."""
    launch = record.replica.launch
    document = {
        "runtimeId": record.runtime_id,
        "name": record.replica.name,
        "labels": record.replica.owner.labels(),
        "launch": {
            "argv": launch.argv,
            "env": dict(launch.env),
            "secretEnv": {name: source.model_dump(exclude_none=True) for name, source in launch.secret_env.items()},
            "mounts": [asdict(mount) for mount in launch.mounts],
            "limits": asdict(launch.limits),
            "image": launch.image,
            "port": launch.port,
            "fixedListen": launch.fixed_listen,
        },
    }
    write_json(directory / RECORD, document)


def read_record(directory: Path) -> Record | None:
    """The record; None where there is none that we wrote."""
    document = read_json(directory / RECORD)
    try:
        owner = Ownership.from_labels(document["labels"])
        launch = _launch(document["launch"])
        record = Record(document["runtimeId"], Replica(document["name"], owner, launch)) if owner else None
    except (KeyError, TypeError, ValueError):
        return None
    return record


def _launch(document: Mapping[str, Any]) -> LaunchSpec:
    return LaunchSpec(
        argv=tuple(document["argv"]),
        env=document["env"],
        secret_env={name: ValueFrom(**source) for name, source in document["secretEnv"].items()},
        mounts=tuple(Mount(**mount) for mount in document["mounts"]),
        limits=Limits(**document["limits"]),
        image=document["image"],
        port=document["port"],
        fixed_listen=document["fixedListen"],
    )


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Replaces the file by the document, atomically and synced."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The document; empty where there is none, or none that is whole."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}

"""Who owns what could not be labelled: containers that were taken over as they run (R10).

Labels cannot be added to a living container, so the labels it would bear stand in a file of the state directory, by the
container's name and id. A runtime that adopts folds them into what it tells; everything above knows no difference. The
rule: a record speaks of one container id, and of another one of the same name it says nothing.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import ObservedReplica

FILE = "adopted.json"
ONE_AT_A_TIME = threading.Lock()
"""Several workers of one apply may take over, each another container; the state lock keeps other processes out."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """One record."""

    runtime_id: str
    owner: Ownership


@dataclass(frozen=True, slots=True)
class Adoptions:
    """The records in one file; without a path nothing can be adopted. The caller holds the state lock."""

    path: Path | None = None

    def all(self) -> Mapping[str, Adopted]:
        """Every record by container name. A file that cannot be read says nothing."""
        found: dict[str, Adopted] = {}
        with suppress(OSError, ValueError, AttributeError, KeyError):
            if self.path is not None:
                for name, record in json.loads(self.path.read_text(encoding="utf-8")).items():
                    owner = Ownership.from_labels(record["labels"])
                    found |= {name: Adopted(str(record["id"]), owner)} if owner is not None else {}
        return found

    def owned(self, seen: ObservedReplica | None) -> ObservedReplica | None:
        """`seen` with the owner that its record gives; a thing that bears labels of its own needs none."""
        if seen is None or seen.owner is not None:
            return seen
        record = self.all().get(seen.name)
        return (
            replace(seen, owner=record.owner) if record is not None and record.runtime_id == seen.runtime_id else seen
        )

    def is_another(self, seen: ObservedReplica) -> bool:
        """Whether it only bears the name of what was taken over, and no labels of its own."""
        record = self.all().get(seen.name)
        return seen.owner is None and record is not None and record.runtime_id != seen.runtime_id

    def is_recorded(self, name: str, runtime_id: str) -> bool:
        """Whether a thing of this name and id was taken over."""
        record = self.all().get(name)
        return record is not None and record.runtime_id == runtime_id

    def put(self, name: str, runtime_id: str, owner: Ownership) -> None:
        """Record a container as owned."""
        with ONE_AT_A_TIME:
            self._write({**self.all(), name: Adopted(runtime_id, owner)})

    def drop(self, name: str) -> None:
        """Forget one; none of that name is no error."""
        with ONE_AT_A_TIME:
            known = self.all()
            if name in known:
                self._write({other: record for other, record in known.items() if other != name})

    def _write(self, records: Mapping[str, Adopted]) -> None:
        assert self.path is not None
        text = {name: {"id": one.runtime_id, "labels": one.owner.labels()} for name, one in records.items()}
        fresh = self.path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(json.dumps(text, indent=2, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)

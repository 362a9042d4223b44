"""What nothing refers to any more, and its removal: `models gc`, and the cache's side of `deletionPolicy`.

Never touched: what a pin holds, what a replica was given (in a roll-out, or when one failed, the old replica serves
what its Model has left), what a running fetch or build works on (its lock is busy), what is younger than the grace time
(a fetch that is about to be pinned), and anything that does not bear a name the cache gives. Pins cannot change while
something is removed: both hold the same lock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from nexus_ctl.artifacts.disk import TEMPORARY, lock_if_free, locked, look
from nexus_ctl.artifacts.hub.cache import withdraw
from nexus_ctl.artifacts.memo import Memo
from nexus_ctl.artifacts.records import Layout, Record
from nexus_ctl.artifacts.transfer.partial import Partial, Sidecar
from nexus_ctl.clock import Clock
from nexus_ctl.resources.artifact import Pin

GRACE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something to remove. `kind` is `artifact`, `partial`, `quarantined` or `leftover`."""

    kind: str
    path: str
    size_bytes: int
    """Bytes that come free: 0 where another link keeps the content."""
    origin: str
    """Where it came from, for people; "" when nothing says."""
    keys: tuple[str, ...] = ()
    """The requests it belongs to."""


def garbage(
    layout: Layout, clock: Clock, grace: timedelta = GRACE, *, in_use: frozenset[str] = frozenset()
) -> tuple[Garbage, ...]:
    """All that may go now, sorted by kind and path. Reads only. `in_use` are files and folders that replicas have."""
    before = clock.now() - grace
    unused = (*_artifacts(layout, before, in_use), *_partials(layout, before))
    broken = (*_quarantined(layout), *_leftovers(layout, before))
    return tuple(sorted((*unused, *broken), key=lambda item: (item.kind, item.path)))


def collect(
    layout: Layout,
    clock: Clock,
    items: Iterable[Garbage],
    grace: timedelta = GRACE,
    *,
    in_use: frozenset[str] = frozenset(),
) -> tuple[Garbage, ...]:
    """Remove those of `items` that still are garbage and that no fetch or build works on; what was removed."""
    removed = []
    with locked(layout.pins_lock, clock):
        still = set(garbage(layout, clock, grace, in_use=in_use))
        for item in items:
            with ExitStack() as locks:
                free = [locks.enter_context(lock_if_free(layout.lock(key))) for key in item.keys]
                if all(free) and item in still:
                    _remove(layout, item)
                    removed.append(item)
    return tuple(removed)


def drop_unpinned(layout: Layout, pin: Pin) -> int:
    """Remove the blobs of a pin that was just removed, but those another pin holds; bytes freed.

    The caller holds the pins' lock.
    """
    held = _held(layout)
    freed = 0
    for sha256 in sorted(digests_of(layout, pin) - held):
        item = _blob_item(layout, sha256, _bringers(layout).get(sha256, ()))
        freed += item.size_bytes
        _remove(layout, item)
    return freed


def _held(layout: Layout) -> frozenset[str]:
    return frozenset(sha256 for pin in layout.read_pins() for sha256 in digests_of(layout, pin))


def digests_of(layout: Layout, pin: Pin) -> frozenset[str]:
    """The blobs a pin holds: those its request brought, and the one its Model declares, whoever brought that.

    Of what is built neither the source nor the digest that is declared for it.
    """
    record, spec = layout.read_record(pin.key), json.loads(pin.spec) if pin.spec else {}
    brought = frozenset(file.sha256 for file in record.files) if record is not None else frozenset()
    declared = None if "quantize" in spec or "convert" in spec else spec.get("sha256")
    return brought | ({declared} if declared else frozenset())


def _bringers(layout: Layout) -> dict[str, tuple[Record, ...]]:
    found: dict[str, tuple[Record, ...]] = {}
    for record in layout.records():
        for file in record.files:
            found[file.sha256] = (*found.get(file.sha256, ()), record)
    return found


def _artifacts(layout: Layout, before: datetime, in_use: frozenset[str]) -> Iterator[Garbage]:
    held, bringers = _held(layout), _bringers(layout)
    served = {(found.st_dev, found.st_ino) for path in in_use if (found := look(Path(path))) is not None}
    awaited = {digest for _, sidecar in _sidecars(layout) for digest in (sidecar.sha256, sidecar.verified) if digest}
    for path in (layout.root / "blobs").glob("sha256-*"):
        sha256 = path.name.removeprefix("sha256-")
        records = bringers.get(sha256, ())
        young = any(datetime.fromisoformat(record.fetched_at) > before for record in records)
        kept = young or _is_served(path, served)
        if sha256 not in held and sha256 not in awaited and not kept:
            yield _blob_item(layout, sha256, records)


def _is_served(blob: Path, served: Collection[tuple[int, int]]) -> bool:
    """Whether a replica has it, by whatever name, or a folder that it lies in."""
    found = filter(None, map(look, (blob, *blob.parents)))
    return any((one.st_dev, one.st_ino) in served for one in found)


def _blob_item(layout: Layout, sha256: str, records: tuple[Record, ...]) -> Garbage:
    path = layout.blob(sha256)
    found = look(path)
    links = {link for record in records for link in layout.links(record, sha256)}
    ours = 1 + sum(1 for link in links if found is not None and _is_same(link, found))
    size = found.st_size if found is not None and found.st_nlink == ours else 0
    origin = records[0].origin if records else ""
    return Garbage("artifact", str(path), size, origin, tuple(record.key for record in records))


def _partials(layout: Layout, before: datetime) -> Iterator[Garbage]:
    for partial, sidecar in _sidecars(layout):
        if datetime.fromisoformat(sidecar.started_at) <= before and _is_free(layout, sidecar.key):
            yield Garbage("partial", str(partial.path), partial.size_bytes(), sidecar.origin, (sidecar.key,))


def _is_free(layout: Layout, key: str) -> bool:
    with lock_if_free(layout.lock(key)) as free:
        return free


def _sidecars(layout: Layout) -> Iterator[tuple[Partial, Sidecar]]:
    for path in (layout.root / "partial").glob("*.json"):
        partial = Partial(path.with_suffix(".part"))
        sidecar = partial.sidecar()
        if sidecar is not None:
            yield partial, sidecar


def _quarantined(layout: Layout) -> Iterator[Garbage]:
    for path in (layout.root / "bad").glob("*"):
        found = look(path)
        if found is not None:
            yield Garbage("quarantined", str(path), found.st_size, "")


def _leftovers(layout: Layout, before: datetime) -> Iterator[Garbage]:
    """Files that a killed process left half written, and bytes whose sidecar is gone."""
    known = {partial.path for partial, _ in _sidecars(layout)}
    bytes_alone = (path for path in (layout.root / "partial").glob("*.part") if path not in known)
    for path in (*layout.root.glob(f"**/*{TEMPORARY}"), *bytes_alone):
        found = look(path)
        if found is not None and found.st_mtime <= before.timestamp():
            parts = path.relative_to(layout.root).parts
            guarded = parts[0] == "partial"
            key = parts[1].partition(".")[0] if guarded else ""
            if not guarded or _is_free(layout, key):
                yield Garbage("leftover", str(path), found.st_size, "", (key,) if guarded else ())


def _remove(layout: Layout, item: Garbage) -> None:
    path = Path(item.path)
    if item.kind == "partial":
        Partial(path).discard()
        return
    if item.kind == "artifact":
        for record in filter(None, map(layout.read_record, item.keys)):
            for link in (link for file in record.files for link in layout.links(record, file.sha256)):
                _remove_link(layout, link)
            layout.record(record.key).unlink(missing_ok=True)
        Memo(layout.memo).forget(path)
    path.unlink(missing_ok=True)
    if path.parent.suffix == ".build":
        with suppress(OSError):  # a build has begun there meanwhile
            path.parent.rmdir()


def _remove_link(layout: Layout, link: Path) -> None:
    if layout.root not in link.parents:
        withdraw(link)
        return
    link.unlink(missing_ok=True)
    with suppress(OSError):  # not empty yet, or gone already
        for folder in link.parents:
            if folder == layout.root / "sets":
                break
            folder.rmdir()


def _is_same(link: Path, content: os.stat_result) -> bool:
    found = look(link)
    return found is not None and (found.st_dev, found.st_ino) == (content.st_dev, content.st_ino)

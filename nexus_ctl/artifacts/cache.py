"""The model cache: the real `Artifacts` port. Finds and pins from disk alone; fetches through one source per origin.

    find ── stock ──► Artifact                                                 no network, no HTTP code loaded
    header, forecast ── preview                                                before it is here
    fetch ── lock of the request ── ask the source ── deliver its parts as blobs ── record ──► Artifact
    build ── lock of the content address ── bounded child ── one blob ── record with its inputs ──► Artifact

What is under `blobs/` is verified and whole; a record is written only after its blobs. A crash at any point leaves
either a partial that the next fetch continues or a blob that it finds (R11 d).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from nexus_ctl import __version__
from nexus_ctl.artifacts import upstream
from nexus_ctl.artifacts.builds.lock import against_lock
from nexus_ctl.artifacts.collect import drop_unpinned, garbage
from nexus_ctl.artifacts.disk import free_bytes, locked
from nexus_ctl.artifacts.locking import delivered, prove, stated
from nexus_ctl.artifacts.memo import Memo
from nexus_ctl.artifacts.preview import Preview
from nexus_ctl.artifacts.records import Layout, Record
from nexus_ctl.artifacts.source import Means
from nexus_ctl.artifacts.sources import path as path_source
from nexus_ctl.artifacts.sources.ask import parcel_of
from nexus_ctl.artifacts.stock import Stock
from nexus_ctl.artifacts.transfer.address import display
from nexus_ctl.artifacts.transfer.partial import Partial
from nexus_ctl.artifacts.verify import verify_blobs, verify_path
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.artifact import (
    Artifact,
    Forecast,
    Offer,
    Pin,
    Progress,
    ProgressSink,
    RemoteFinding,
    Request,
    Room,
    Upstream,
    Verdict,
)
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.lock import SHA256, LockedBuild, LockedFile
from nexus_ctl.resources.weights import GgufHeader


class Cache:
    """The cache in `root`, shared by all stacks and processes of a user."""

    def __init__(self, root: Path, means: Means) -> None:
        self.layout = Layout(root)
        self._means = means
        self._stock = Stock(self.layout, Memo(self.layout.memo))
        self._preview = Preview(self._stock, means)

    def find(self, request: Request) -> Artifact | None:
        """See the port."""
        return self._stock.find(request)

    def header(self, request: Request, token: str | None = None, file: str = "") -> GgufHeader | None:
        """See the port."""
        return self._preview.header(request, token, file)

    def checkpoint(self, request: Request, token: str | None = None) -> Checkpoint | None:
        """See the port."""
        return self._preview.checkpoint(request, token)

    def forecast(self, request: Request, token: str | None = None) -> Forecast:
        """See the port."""
        return self._preview.forecast(request, token)

    def locked_builds(self, request: Request, token: str | None = None, *, anew: bool) -> tuple[LockedBuild, ...]:
        """See the port."""
        return self._preview.locked_builds(request, token, anew=anew)

    def resolve(self, request: Request, token: str | None = None) -> Offer:
        """See the port."""
        if request.source.path is not None:
            return path_source.offer(request, self._stock.memo)
        from nexus_ctl.artifacts.delivery import missing_bytes

        parcel = parcel_of(request, token, self._means)
        return replace(parcel.offer, size_bytes=missing_bytes(self.layout, self._stock.memo, parcel))

    def build(self, request: Request, identity: str, progress: ProgressSink, tool: str = "") -> Artifact:
        """See the port. An exception out of `progress` ends it and leaves nothing."""
        from nexus_ctl.artifacts.builds.build import Builder

        found = self.find(request)
        if found is not None and found.identity == identity:
            return found
        builder = Builder(self.layout, self._stock.memo, self._means, self.find, self._stock.build_key)
        return self._stock.artifact(builder.build(request, identity, progress, tool))

    def partial_bytes(self, request: Request) -> int:
        """See the port."""
        partials = (self.layout.root / "partial").glob(f"{request.key}.*.part")
        return sum(Partial(path).size_bytes() for path in partials)

    def fetch(self, request: Request, offer: Offer, progress: ProgressSink, token: str | None = None) -> Artifact:
        """See the port. Waits while another process fetches the same; an exception out of `progress` abandons it."""
        if request.source.path is not None:
            artifact = path_source.in_place(
                request, self._stock.memo, lambda done: progress(Progress("verify", done, offer.size_bytes))
            )
            _hold(artifact.identity, offer)
            return artifact

        def waiting() -> None:
            progress(Progress("download", self.partial_bytes(request), offer.size_bytes))

        with locked(self.layout.lock(request.key), self._means.clock, waiting):
            found = self.find(request)
            pinned = request.sha256 is not None or request.locked is not None
            if found is not None and (pinned or found.identity == offer.identity):
                return found
            return self._deliver(request, offer, progress, token)

    def _deliver(self, request: Request, offer: Offer, progress: ProgressSink, token: str | None) -> Artifact:
        from nexus_ctl.artifacts.delivery import Delivery

        parcel = parcel_of(request, token, self._means)
        _hold(parcel.offer.identity, offer)
        self.layout.root.mkdir(parents=True, exist_ok=True)
        delivery = Delivery(self.layout, self._stock.memo, self._means, request, parcel.token, progress)
        files = delivery.deliver(parcel, self.partial_bytes(request))
        prove(parcel.offer.origin, files, request.locked)
        source = request.pinned
        if request.source.url is not None:
            source["url"] = display(request.source.url)
        record = Record(
            key=request.key,
            request={"source": source, "sha256": request.sha256},
            origin=parcel.offer.origin,
            identity=parcel.offer.identity,
            files=files,
            fetched_at=self._means.clock.now().isoformat(),
            version=__version__,
            hub={**asdict(parcel.hub), **parcel.terms} if parcel.hub is not None else None,
        )
        self.layout.write_record(record)
        delivery.discard_partials(parcel)
        return self._stock.artifact(record)

    def contents(
        self, request: Request, progress: ProgressSink, token: str | None = None, *, ask: bool
    ) -> tuple[str, Mapping[str, LockedFile]]:
        """See the port."""
        free = replace(request, locked=None)
        if request.source.path is not None:
            here = path_source.in_place(free, self._stock.memo)
            return "", {Path(here.path).name: LockedFile(here.size_bytes, SHA256 + here.sha256)}
        if ask or self.find(free) is None:
            parcel = parcel_of(free, token, self._means)
            files = stated(parcel)
            if files is not None:
                return parcel.hub.commit if parcel.hub is not None else "", files
            self.fetch(free, parcel.offer, progress, token)
        record = self._stock.record(free)
        assert record is not None  # it is here
        return (record.hub or {}).get("commit", ""), delivered(record)

    def upstream(self, asked: Mapping[str, tuple[Request, str | None]], *, look: bool) -> Mapping[str, Upstream]:
        """See the port."""
        followed = {name: one for name, one in asked.items() if upstream.follows(one[0]) is not None}
        if look and followed:
            upstream.look(self.layout, self._means, followed)
        told = {name: self._upstream(request) for name, (request, _) in followed.items()}
        return {name: one for name, one in told.items() if one is not None}

    def _upstream(self, request: Request) -> Upstream | None:
        record = self._stock.record(request)
        files = request.locked.files if request.locked is not None else delivered(record) if record is not None else {}
        commit = request.locked.commit if request.locked is not None else ((record and record.hub) or {}).get("commit")
        held = frozenset(file.digest for file in files.values())
        return upstream.seen(self.layout, request, commit, held) if commit else None

    def room(self, needed_bytes: int) -> Room:
        """See the port."""
        free, reserve = free_bytes(self.layout.root), self._means.reserve_bytes
        short = needed_bytes + reserve > free
        reclaimable = sum(item.size_bytes for item in garbage(self.layout, self._means.clock)) if short else 0
        return Room(str(self.layout.root), free, reserve, reclaimable)

    def verify(self, request: Request, progress: ProgressSink) -> tuple[Verdict, ...]:
        """See the port."""
        if request.source.path is not None and not request.steps:
            return (verify_path(Path(request.source.path), self._stock.memo, request.wanted, progress),)
        with locked(self.layout.lock(request.key), self._means.clock):
            record, entry = self._stock.record(request), request.locked if not request.steps else None
            wanted = entry.files if entry is not None else delivered(record) if record is not None else {}
            found = verify_blobs(self.layout, self._stock.memo, record, wanted, progress)
        pinned = request.locked_build
        return against_lock(
            found, pinned if pinned is not None and pinned.key == self._stock.build_key(request) else None
        )

    def verify_remote(self, request: Request, token: str | None = None) -> tuple[RemoteFinding, ...]:
        """See the port."""
        from nexus_ctl.artifacts.remote_check import Held, check_hub, check_offer

        source, record = replace(request, steps=()), self._stock.record(replace(request, steps=()))
        files = source.locked.files if source.locked is not None else delivered(record) if record is not None else {}
        if source.source.path is not None or not files:
            return ()
        if source.source.hugging_face is not None:
            hub = (record.hub if record is not None else None) or {}
            commit = source.locked.commit if source.locked is not None else hub.get("commit", "")
            return check_hub(source.source.hugging_face, Held(commit, files, hub), token, self._means)
        return check_offer(lambda: parcel_of(replace(source, locked=None), token, self._means), files, record)

    def pins(self, instance: str, set_name: str) -> tuple[Pin, ...]:
        """See the port."""
        found = self.layout.read_pins(f"{instance}-{set_name}")
        ours = (pin for pin in found if (pin.instance, pin.set) == (instance, set_name))
        return tuple(sorted(ours, key=lambda pin: pin.model))

    def pin(self, pin: Pin) -> None:
        """See the port."""
        with locked(self.layout.pins_lock, self._means.clock):
            self.layout.write_pin(pin)

    def unpin(self, pin: Pin, *, delete_bytes: bool) -> int:
        """See the port."""
        with locked(self.layout.pins_lock, self._means.clock):
            self.layout.pin(pin).unlink(missing_ok=True)
            return drop_unpinned(self.layout, pin) if delete_bytes else 0


def _hold(identity: str, planned: Offer) -> None:
    """Raises Terminal unless the source still offers what was planned: what the plan says is what is done."""
    if identity != planned.identity:
        raise Terminal(
            f"{planned.origin} changed since it was planned ({planned.identity} -> {identity})",
            hint="plan again:\n  nexusctl plan",
            code="source-moved",
        )

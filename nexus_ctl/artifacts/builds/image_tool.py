"""`llama-quantize` out of the images that deployments name: which of them hold it, and the run as a one-shot container.

Called by `tools` between the program on the PATH and the engine's package. Whether an image holds the program is looked
up once per image and remembered by the image's id, which names its content; the memory may be lost. The rule: only what
is on this machine counts, since what a plan names must be what the build uses.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nexus_ctl.artifacts.builds.tools import PROGRAM, Job, Tool, quantize_words, whole_tensors
from nexus_ctl.artifacts.disk import read_json, write_atomic
from nexus_ctl.errors import RuntimeUnreachable
from nexus_ctl.resources.lock import short
from nexus_ctl.resources.normal import digest
from nexus_ctl.resources.one_shot import ContainerPrograms, HostedImage, OneShot

IN, OUT = "/in", "/out"
"""Where the container sees what it reads, and the one folder that it may write to."""


@dataclass(frozen=True, slots=True)
class ImageTools:
    """The tools in `images`, in that order. `open_engine` gives what runs them, None where nothing does; it is called
    when a tool is looked for and not before."""

    folder: Path
    """Where it is remembered which image holds what."""
    images: tuple[str, ...]
    open_engine: Callable[[], ContainerPrograms | None]

    def __call__(self) -> Iterator[Tool]:
        """Those that are here. An engine that does not answer has none."""
        engine = self.open_engine() if self.images else None
        if engine is None:
            return
        with suppress(RuntimeUnreachable):
            for image in self.images:
                hosted = engine.hosted(image)
                program = self._program(engine, hosted) if hosted is not None else ""
                if hosted is not None and program:
                    yield _tool(engine, hosted, program)

    def _program(self, engine: ContainerPrograms, hosted: HostedImage) -> str:
        file = self.folder / f"{hosted.image_id.rpartition(':')[2]}.json"
        try:
            known = (read_json(file) or {}).get(PROGRAM)
        except ValueError:
            known = None
        if isinstance(known, str):
            return known
        found = engine.program(hosted.image_id, PROGRAM)
        with suppress(OSError):  # a cache that cannot be written to only costs looking again
            write_atomic(file, json.dumps({PROGRAM: found}), durable=False)
        return found


def _tool(engine: ContainerPrograms, hosted: HostedImage, program: str) -> Tool:
    def run(job: Job, memory_bytes: int, tick: Callable[[], None]) -> str:
        return engine.run(one_shot(job, hosted.image_id, program, memory_bytes), tick)

    shown = f"{PROGRAM} of {hosted.image} ({short(hosted.digest)})"
    return Tool(f"{PROGRAM} of the image {hosted.digest}", run, whole_tensors, shown=shown)


def one_shot(job: Job, image_id: str, program: str, memory_bytes: int) -> OneShot:
    """The run of a job. Parts of a split model keep their names, by which llama.cpp finds them."""
    split = len(job.sources) > 1
    named = {f"{IN}/{Path(source).name if split else 'model.gguf'}": source for source in job.sources}
    matrix = {f"{IN}/imatrix": job.imatrix} if job.imatrix else {}
    target = Path(job.target)
    words = quantize_words(job, next(iter(named)), next(iter(matrix), ""), f"{OUT}/{target.name}")
    return OneShot(
        name=f"nexusctl-build-{digest([os.fspath(target.parent)], 24)}",
        image_id=image_id,
        argv=(program, *words),
        reads={**named, **matrix},
        writes=(os.fspath(target.parent), OUT),
        memory_bytes=memory_bytes,
        cores=job.threads,
    )

"""The programs that can build, in the order they are preferred, each with its version; and the refusal of none.

Called by the dry run (the plan names the tool) and by the build. A program that the user put on the machine goes first:
it may be built for this processor. Then the image of a deployment that holds one (`image_tool`), the very release that
will serve the result. The engine's package comes last and is there wherever nexusctl runs engines itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from nexus_ctl import __version__
from nexus_ctl.artifacts.builds.bounded import run
from nexus_ctl.artifacts.disk import sha256_of
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.weights import GgufHeader

BASE_MEMORY_BYTES = 1 << 30
"""What a tool may take besides the tensors it holds: its libraries, and the header with its vocabulary."""
THREAD_MEMORY_BYTES = 32 << 20
"""What the package's way holds per thread; see `quantizer.CHUNK_ELEMENTS`."""
PROGRAM = "llama-quantize"
_BUILD = re.compile(r"build = (\d+ \(\w+\))")


@dataclass(frozen=True, slots=True)
class Job:
    """What a tool is told. `sources` are all shards of the model in order, or `NAME=PATH` of the files that are
    converted and `=PATH` of the model that an adapter changes; `imatrix` a path or ""."""

    type: str
    sources: tuple[str, ...]
    imatrix: str
    target: str
    threads: int


@dataclass(frozen=True, slots=True)
class Tool:
    """`name` holds its version and nothing of this machine: content addresses, provenance and locks name it so.
    `run` does a job in so many bytes of memory, bounded, and gives "" or the last of what it said; what `tick` raises
    ends it. `memory_bytes` is what it takes to make a model, by its header and the number of threads."""

    name: str
    run: Callable[[Job, int, Callable[[], None]], str]
    memory_bytes: Callable[[GgufHeader, int], int]
    shown: str = ""
    """The same for people who look at this machine; "" where there is no more to say."""

    @property
    def words(self) -> str:
        """For people who look at this machine."""
        return self.shown or self.name


def _child(command: Callable[[Job], Sequence[str]]) -> Callable[[Job, int, Callable[[], None]], str]:
    """A program of this machine, as a bounded child."""
    return lambda job, memory_bytes, tick: run(command(job), memory_bytes=memory_bytes, tick=tick)


def _convert(job: Job) -> list[str]:
    return [sys.executable, "-m", "nexus_ctl.artifacts.convert.converter", job.type, job.target, *job.sources]


CONVERTER = Tool(f"nexusctl {__version__}", _child(_convert), lambda _, __: BASE_MEMORY_BYTES)
"""What converts is ours, so it is always here."""


def find_tool(environ: Mapping[str, str], images: Callable[[], Iterable[Tool]] = tuple, planned: str = "") -> Tool:
    """The first tool that is here; the one with the `words` that were planned, whatever came or went before it since.

    Raises Terminal: `no-build-tool`, which names the ways to get one; `source-moved` where the planned one is gone.
    """
    there = _here(environ, images)
    tool = next((one for one in there if planned in ("", one.words)), None)
    if tool is None and planned:
        raise Terminal(f"{planned} is not here any more", hint="plan again:\n  nexusctl plan", code="source-moved")
    if tool is None:
        raise Terminal(
            "nothing on this machine can quantize a model",
            hint="put llama.cpp's llama-quantize on the PATH, or install:\n  pip install xllamacpp",
            code="no-build-tool",
            summary="a tool is missing",
        )
    return tool


def _here(environ: Mapping[str, str], images: Callable[[], Iterable[Tool]]) -> Iterator[Tool]:
    """In the order they are preferred; what comes later is looked for only when it is asked for."""
    if (program := _program(environ.get("PATH", ""))) is not None:
        yield program
    yield from images()
    if (package := _package()) is not None:
        yield package


def threads() -> int:
    """How many may work at once: the processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _program(path: str) -> Tool | None:
    found = shutil.which(PROGRAM, path=path)
    if found is None:
        return None

    def command(job: Job) -> list[str]:
        return [found, *quantize_words(job, job.sources[0], job.imatrix, job.target)]

    name = f"{PROGRAM} {_build_of(found, os.stat(found).st_mtime_ns)}"
    return Tool(name, _child(command), whole_tensors, shown=f"{name} ({found})")


def quantize_words(job: Job, source: str, imatrix: str, target: str) -> list[str]:
    """What llama-quantize is told; of a split model its first part. Paths as the program sees them."""
    matrix = ["--imatrix", imatrix] if imatrix else []
    return ["--allow-requantize", *matrix, source, target, job.type, str(job.threads)]


def whole_tensors(header: GgufHeader, count: int) -> int:
    """llama-quantize holds its largest tensor as floats, and as much again for the result."""
    return BASE_MEMORY_BYTES + 8 * max(tensor.elements for tensor in header.tensors)


@cache
def _build_of(program: str, changed: int) -> str:
    """Its build number, as it says on starting; else the beginning of its digest. Asked once per change of the file."""
    try:
        nothing = [program, os.devnull, os.devnull, "Q8_0"]
        said = subprocess.run(nothing, capture_output=True, text=True, timeout=20, check=False, errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return sha256_of(Path(program))[:12]
    build = _BUILD.search(said.stdout + said.stderr)
    return f"build {build[1]}" if build else sha256_of(Path(program))[:12]


def _package() -> Tool | None:
    spec = find_spec("xllamacpp")
    libraries = sorted(Path(spec.origin).parent.glob("xllamacpp*.so")) if spec is not None and spec.origin else []
    if not libraries:
        return None

    def command(job: Job) -> list[str]:
        program = [sys.executable, "-m", "nexus_ctl.artifacts.quantize.quantizer", str(libraries[0])]
        matrix = ["--imatrix", job.imatrix] if job.imatrix else []
        return [*program, job.type, job.target, str(job.threads), *matrix, *job.sources]

    name = f"ggml of xllamacpp {metadata.version('xllamacpp')}"
    return Tool(name, _child(command), lambda _, count: BASE_MEMORY_BYTES + count * THREAD_MEMORY_BYTES)

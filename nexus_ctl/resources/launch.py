"""The launch specification: what to run, free of where. The same value starts a process and a container.

Some command-line words only the runtime can fill, so that the engine stays ignorant of it: a word that is `{host}`,
`{port}` or `{host}:{port}` as a whole (the address to listen on), and a mounted file's `target` path, which the process
runtime replaces by its `source`. Text that merely contains braces, such as a chat template, is left alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from nexus_ctl.resources.secret import ValueFrom

HOST = "{host}"
PORT = "{port}"
GGUF = ".gguf"
_SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


@dataclass(frozen=True, slots=True)
class Mount:
    """A file of the host that the engine reads, always read-only.

    `model` names the Model whose artifact is meant and `file` which of its files (a pattern; empty = there is one);
    the path is only known once it is fetched, so execution fills `source` in. For any other file `source` is given and
    `model` empty. A target that does not end in `.gguf` stands for all files of the Model.
    """

    target: str
    source: str = ""
    model: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a replica may use; None is no limit. `memory_bytes` counts private memory, not the mapped weights."""

    cpu_cores: float | None = None
    memory_bytes: int | None = None


ALL_GPUS = -1


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """GPUs that the replica must get: `count` of any (`ALL_GPUS` for every one), or those of `ids`.

    An id is an index (`0`), a UUID (`GPU-...`, `MIG-...`) or a CDI name (`nvidia.com/gpu=0`). The engine sees them in
    the order given.
    """

    count: int = 0
    ids: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ("gpu",)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a container may do beyond computing; other runtimes have nothing to confine with and ignore it.

    Every container drops all capabilities, gains no privileges, and reaches nothing of the host but its mounts.
    """

    user: str = ""
    """`uid` or `uid:gid`; empty = the image's own."""
    read_only_root: bool = True
    writable: tuple[str, ...] = ("/tmp",)
    """Directories that are writable all the same, in memory."""
    shm_bytes: int | None = None
    """Size of `/dev/shm`; the engine's default is 64 MiB."""
    pids: int = 4096
    """Processes and threads at most."""
    ulimits: Mapping[str, int] = field(default_factory=dict)
    """Soft and hard limits by name without `RLIMIT_`, for example `memlock`; -1 is unlimited."""


@dataclass(frozen=True, slots=True)
class ReadyProbe:
    """How readiness is asked: `GET path` answers 200. All times in seconds."""

    path: str = "/health"
    interval_seconds: float = 0.25
    timeout_seconds: float = 2.0
    progress_deadline_seconds: float = 120.0
    healthy_deadline_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """One replica's program. `argv[0]` is the program's name as in its container image (`llama-server`).

    `secret_env` holds references only; a runtime gets the values at `start`, in memory, and never writes them down.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, ValueFrom] = field(default_factory=dict)
    key_env: str = ""
    """Which of `secret_env` is the key that calls to the engine must bear; empty = it asks for none."""
    mounts: tuple[Mount, ...] = ()
    limits: Limits = Limits()
    image: str = ""
    """Container image; empty where only processes are meant (the gateway)."""
    port: int = 8080
    """The port inside a container. A process listens on a free port unless `fixed_listen` is given."""
    fixed_listen: str = ""
    """`host:port` that a process must listen on (the gateway); empty = any free loopback port."""
    gpus: GpuRequest | None = None
    sandbox: Sandbox = Sandbox()


def with_files(launch: LaunchSpec, files: Mapping[str, Sequence[str]]) -> LaunchSpec:
    """`launch` with the files of its models in place, by model name.

    One file takes the mount's target. The parts of a split GGUF go side by side, under their own names, into a folder
    in the target's stead: engines find the later parts by the first one's name. Other files together make the target a
    folder. Raises ValueError where it is not clear which file is meant.
    """
    mounts: list[Mount] = []
    argv = launch.argv
    for mount in launch.mounts:
        parts = meant(files.get(mount.model, ()), mount) if mount.model else ()
        if len(parts) > 1:
            above = os.path.commonpath([os.path.dirname(part) for part in parts])
            folder = PurePosixPath(mount.target.removesuffix(GGUF))
            placed = [replace(mount, target=str(folder / os.path.relpath(part, above)), source=part) for part in parts]
            if all(map(_SPLIT.search, parts)):
                argv = tuple(renamed(word, mount.target, placed[0].target) for word in argv)
            mounts += placed
        else:
            mounts.append(replace(mount, source=parts[0]) if parts else mount)
    return replace(launch, argv=argv, mounts=tuple(mounts))


def meant(files: Sequence[str], mount: Mount) -> tuple[str, ...]:
    """The files of its Model that a mount means. Raises ValueError as `chosen` does."""
    try:
        return chosen(files, mount.file) if mount.target.endswith(GGUF) else tuple(files)
    except ValueError as error:
        raise ValueError(f"Model/{mount.model}: {error}") from error


def chosen(files: Sequence[str], pattern: str = "") -> tuple[str, ...]:
    """Of a Model's files the one that is meant, or all parts of one split GGUF; a single file whatever it is called.

    Raises ValueError, naming the files, where the pattern (any GGUF when empty) leaves none or more than one.
    """
    if len(files) <= 1:
        return tuple(files)
    families: dict[str, list[str]] = {}
    for path in files:
        families.setdefault(_SPLIT.sub(GGUF, path), []).append(path)
    wanted = pattern or f"*{GGUF}"
    meant = [
        family for family in families.values() if any(fnmatchcase(os.path.basename(path), wanted) for path in family)
    ]
    if len(meant) == 1:
        return tuple(meant[0])
    names = ", ".join(sorted(os.path.basename(family[0]) for family in meant or families.values()))
    raise ValueError(f"{'several' if meant else 'no'} files match {wanted}: {names}")


def renamed(word: str, path: str, to: str) -> str:
    """A word of a command line with one path in another's stead, where it stands alone or between other signs (`P:0.5`,
    `a=P`); never as a part of a longer path."""
    return to.join(re.split(rf"(?<![\w./-]){re.escape(path)}(?![\w./-])", word))

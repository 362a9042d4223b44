"""Which program a launch specification's first word means on this machine.

`argv[0]` is a name as in a container image. The table handed to the runtime comes first, then PATH. The rule: a name
that leads nowhere is an error that says so, at create.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from nexus_ctl.errors import Terminal

LLAMA_SERVER = "llama-server"
STAND_IN = (sys.executable, "-m", "nexus_ctl.engines.llama_server")
"""llama.cpp's server from the `xllamacpp` package, under llama-server's flags."""
GATEWAY = (sys.executable, "-m", "api.gateway")


def default_programs(llama_server: str = "") -> dict[str, tuple[str, ...]]:
    """The table of a usual install. `llama_server` is a configured path; empty: the one on PATH, else the stand-in."""
    found = llama_server or shutil.which(LLAMA_SERVER)
    return {LLAMA_SERVER: (found,) if found else STAND_IN, "nexus-gateway": GATEWAY}


def build_of(program: Sequence[str]) -> str:
    """Which build of llama.cpp a row of the table is: the package's version, or the file's size and time; "" where no
    such file is there."""
    if tuple(program) == STAND_IN:
        return f"xllamacpp {version('xllamacpp')}"
    try:
        found = Path(program[0]).stat()
    except (OSError, IndexError):
        return ""
    return f"{program[0]} {found.st_size} {found.st_mtime_ns}"


def resolve(argv: Sequence[str], programs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """`argv` with its first word replaced by what runs here. Raises Terminal when there is nothing."""
    name, *words = argv
    prefix = programs.get(name, (name,))
    program = shutil.which(prefix[0])
    if program is None:
        raise Terminal(f"there is no program {prefix[0]!r}", hint=f"install {name}, or put it on PATH")
    return (str(Path(program).absolute()), *prefix[1:], *words)

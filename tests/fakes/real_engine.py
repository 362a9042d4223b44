"""The real llama.cpp server, started for its own report of memory: what its log says of every buffer.

One helper process imports the engine once and forks for every start, so that a start costs tens of milliseconds and
an abort inside the engine costs one answer. Nothing is served; the child ends as soon as the server listens.
Run as a program it is that helper: JSON lines in, JSON lines out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus_ctl.engines.llama_server.command_line import fill, read
from nexus_ctl.placement.report import Buffer, parse_buffers
from nexus_ctl.resources.memory import EngineSettings

_LAST_LINE = b"listening on"
_ROOT = Path(__file__).resolve().parents[2]
_GGML_TYPE = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30}


@dataclass(frozen=True)
class Started:
    """What one start reported. `private_bytes` is the process' own memory beyond files, after the load."""

    ok: bool
    buffers: tuple[Buffer, ...]
    private_bytes: int
    log: str


def start_all(
    wanted: Iterable[tuple[Path, EngineSettings] | tuple[Path, EngineSettings, Sequence[str]]],
) -> list[Started]:
    """Start the server once for each model, settings and further words of its command line, one after the other."""
    lines = [
        json.dumps({"path": str(path), "params": _params(settings), "words": list(*words)})
        for path, settings, *words in wanted
    ]
    helper = subprocess.run(
        [sys.executable, "-m", "tests.fakes.real_engine"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        cwd=_ROOT,
        timeout=60 + 5 * len(lines),
        check=True,
    )
    answers = [json.loads(line) for line in helper.stdout.splitlines()]
    assert len(answers) == len(lines), helper.stderr
    return [
        Started(answer["ok"], parse_buffers(answer["log"].splitlines()), answer["private"], answer["log"])
        for answer in answers
    ]


def _params(settings: EngineSettings) -> dict[str, Any]:
    auto = settings.parallel is None
    return {
        "n_ctx": settings.context_size,
        "n_parallel": 4 if auto else settings.parallel,
        "kv_unified": auto if settings.kv_unified is None else settings.kv_unified,
        "n_batch": settings.batch_size,
        "n_ubatch": settings.ubatch_size,
        "cache_type_k": _GGML_TYPE[settings.cache_type_k],
        "cache_type_v": _GGML_TYPE[settings.cache_type_v],
        "flash_attn_type": {"auto": -1, "off": 0, "on": 1}[settings.flash_attention],
        "swa_full": settings.swa_full,
        "embedding": settings.embeddings,
        "load_mode": 0,
    }


def _serve_one(request: dict[str, Any], log: str) -> None:
    """In the forked child: load, note the memory, end without unwinding. Never returns."""
    import xllamacpp

    out = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    params = xllamacpp.CommonParams()
    params.model.path = request["path"]
    enums = {
        name: type(getattr(params, name)) for name in ("cache_type_k", "cache_type_v", "flash_attn_type", "load_mode")
    }
    for name, value in request["params"].items():
        setattr(params, name, enums[name](value) if name in enums else value)
    params.verbosity, params.warmup, params.fit_params, params.port = 4, False, False, 0
    fill(params, read(request["words"]), xllamacpp)
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    status = Path("/proc/self/status").read_text()
    private = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
    Path(f"{log}.private").write_text(str(int(private) * 1024))
    deadline = time.monotonic() + 30
    while _LAST_LINE not in Path(log).read_bytes() and time.monotonic() < deadline:
        time.sleep(0.002)  # the engine's log is written by a thread of its own, in order
    os._exit(0 if server.listening_address else 1)


def _help() -> None:
    import xllamacpp  # noqa: F401  # imported before the first fork, so that each start is cheap

    with tempfile.TemporaryDirectory() as directory:
        for number, line in enumerate(sys.stdin):
            log = Path(directory, str(number))
            log.touch()
            child = os.fork()
            if not child:
                try:
                    _serve_one(json.loads(line), str(log))
                finally:
                    os._exit(1)
            status = os.waitpid(child, 0)[1]
            private = Path(f"{log}.private")
            answer = {
                "ok": status == 0,
                "log": log.read_text(errors="replace"),
                "private": int(private.read_text()) if private.exists() else 0,
            }
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _help()

"""The real llama.cpp server, started for its own report of memory: what its log says of every buffer.

Nothing is served; the child ends as soon as the server listens. Run as a program it is the helper of `forked_engine`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus_ctl.engines.llama_server.command_line import fill, read
from nexus_ctl.placement.llama_cpp.report import Buffer, parse_buffers
from nexus_ctl.resources.memory import EngineSettings
from tests.fakes.forked_engine import answers_of, serve_lines

_LAST_LINE = b"listening on"
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
    return [
        Started(answer["ok"], parse_buffers(answer["log"].splitlines()), answer["private"], answer["log"])
        for answer in answers_of("tests.fakes.real_engine", lines, seconds_each=5)
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


def _answer(log: Path, ok: bool) -> dict[str, Any]:
    private = Path(f"{log}.private")
    return {
        "ok": ok,
        "log": log.read_text(errors="replace"),
        "private": int(private.read_text()) if private.exists() else 0,
    }


if __name__ == "__main__":
    serve_lines(_serve_one, _answer)

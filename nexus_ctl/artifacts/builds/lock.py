"""What is built against a lock: the key of inputs and recipe, the entry of a step, and what another result means.

Pure comparisons, for `stock.py`, `preview.py`, `cache.py` and `build.py`. The rule: a result other than the locked one
is only an error where the lock is strict (`--locked`), for another release of a tool may make other bytes of the same;
it is always told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from nexus_ctl.errors import IntegrityError
from nexus_ctl.resources.artifact import Conversion, Request, Verdict
from nexus_ctl.resources.lock import SHA256, LockedBuild, LockedFile, short
from nexus_ctl.resources.normal import digest

WAY_OUT = "build with the tool that the lock names, or accept this one's result:\n"
WAY_OUT += "nexusctl apply && nexusctl models lock --rebuilt"
INPUTS_WAY_OUT = "to pin what is built of them now:\nnexusctl models lock --rebuilt"
FilesOf = Callable[[Request], Mapping[str, LockedFile]]
"""The files of a source by name, as the lock or its record says; empty where neither does."""


def build_key(request: Request, files_of: FilesOf) -> str:
    """What the lock calls the last step's recipe and inputs; "" while an input's content is unknown.

    An input that is built itself counts by its own key, so that all keys are known before anything is built.
    """
    inputs = [_content_key(one, files_of) for one in request.inputs]
    return digest([request.steps[-1].recipe, inputs], 64) if all(inputs) else ""


def _content_key(request: Request, files_of: FilesOf) -> str:
    if request.steps:
        return build_key(request, files_of)
    files = files_of(request)
    if len(files) == 1:
        return next(iter(files.values())).digest
    return digest(sorted([name, file.digest] for name, file in files.items()), 64) if files else ""


def build_entry(request: Request, key: str, tool: str, size_bytes: int | None, sha256: str = "") -> LockedBuild:
    """The last step of `request`, as a lock writes it."""
    step = request.steps[-1]
    word = "convert" if isinstance(step, Conversion) else "quantize"
    return LockedBuild(word, step.type, key, tool, size_bytes, SHA256 + sha256 if sha256 else "")


def hold_inputs(request: Request, key: str) -> None:
    """Raises IntegrityError when a strict lock is of other inputs than the last step has now."""
    pinned = request.locked_build
    if request.bound and pinned is not None and pinned.key != key:
        detail = f"{pinned.words}: an input is another one than the lock pins its result for"
        raise IntegrityError(detail, hint=INPUTS_WAY_OUT)


def pinned_note(request: Request, key: str, tool: str) -> tuple[str, ...]:
    """What a plan says of the pin on a result that is yet to be built."""
    pinned = request.locked_build
    if pinned is None or not pinned.digest or pinned.key != key:
        return ()
    by = "" if pinned.tool == tool else f", which {pinned.tool} made"
    return (f"the lock pins {short(pinned.digest)}{by}{'; any other is refused' if request.bound else ''}",)


def unlike(request: Request, tool: str, sha256: str) -> IntegrityError | None:
    """The refusal of a result that is not what a strict lock pins; None for the right one."""
    pinned = request.locked_build
    if pinned is None or request.bound in ("", sha256):
        return None
    came = f"{pinned.words} by {tool} came to {SHA256}{sha256}"
    return IntegrityError(f"{came}; the lock pins {pinned.digest}, which {pinned.tool} made", hint=WAY_OUT)


def against_lock(found: tuple[Verdict, ...], pinned: LockedBuild | None) -> tuple[Verdict, ...]:
    """Verdicts of what was built, held to what the lock pins of it: whole, but another result, `differs`."""
    if pinned is None or not pinned.digest:
        return found
    if not found:
        return (Verdict("model.gguf", "", "missing", pinned.size_bytes or 0, pinned.digest),)
    differing = (one.state == "ok" and one.found != pinned.digest for one in found)
    return tuple(
        replace(one, state="differs", expected=pinned.digest) if differs else one
        for one, differs in zip(found, differing, strict=True)
    )

"""What is true of a Model: its conditions, lifecycle and columns. Pure."""

from __future__ import annotations

from dataclasses import replace

from controllers.base import Assessment, Scene
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.artifact import Conversion, Upstream
from nexus_ctl.resources.conditions import DRIFTED, STALLED, Condition
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.lock import SHA256, short
from nexus_ctl.resources.model import ModelSpec
from nexus_ctl.resources.observed import ObservedModel


def assess(ref: Ref, desired: Resource[ModelSpec] | None, observed: ObservedModel, scene: Scene) -> Assessment:
    """Downloaded and Verified when the artifact is here, Quantized when it was built; Ready when it is pinned too.
    Stalled where it never will be as it is declared."""
    artifact = observed.artifact
    if artifact is None:
        found = _not_here(observed)
        reason = next(one.reason for one in found.conditions if one.status == "False")
        stalled = (Condition(STALLED, "True", reason, observed.error),) if observed.hopeless else ()
        return replace(found, conditions=(*found.conditions, *stalled))
    pinned = observed.pin is not None
    conditions = (
        Condition("Downloaded", "True", "Present", artifact.path),
        *(Condition(name, "True", "Built", artifact.origin) for name in _built_words(observed)),
        Condition("Verified", "True", "DigestMatches", f"sha256:{artifact.sha256}"),
        Condition("Ready", "True" if pinned else "False", "Pinned" if pinned else "NotPinned", artifact.origin),
    )
    moved = upstream_line(observed.upstream) if observed.upstream is not None and observed.upstream.moved else ""
    drift = {
        reason: line for reason, line in (("RevisionMoved", moved), ("BuildDiffers", build_line(observed))) if line
    }
    if drift:
        conditions += (Condition(DRIFTED, "True", next(iter(drift)), "; ".join(drift.values())),)
    columns = {"SIZE": human_bytes(artifact.size_bytes), "DIGEST": artifact.sha256[:12]}
    return Assessment(conditions, "READY" if pinned else "DOWNLOADED", columns)


def _not_here(observed: ObservedModel) -> Assessment:
    """What is still missing: the source's bytes, or only what is to be built from them."""
    source = source_of(observed)
    columns = {"SIZE": "-", "DIGEST": "-"}
    if observed.inputs and source.artifact is not None:
        reason, message = ("CannotBeBuilt", observed.error) if observed.error else ("NotBuilt", "the source is here")
        conditions = (
            Condition("Downloaded", "True", "Present", source.artifact.path),
            *(Condition(name, "False", reason, message) for name in (*_built_words(observed), "Verified", "Ready")),
        )
        return Assessment(conditions, "FAILED:BUILDING" if observed.error else "DOWNLOADED", columns)
    reason = "SourceUnavailable" if observed.error else "Missing"
    message = observed.error or f"{human_bytes(source.partial_bytes)} of the file are here"
    names = ("Downloaded", *_built_words(observed), "Verified", "Ready")
    lifecycle = "FAILED:DOWNLOADING" if observed.error else "DOWNLOADING" if source.partial_bytes else "UNKNOWN"
    return Assessment(tuple(Condition(name, "False", reason, message) for name in names), lifecycle, columns)


def source_of(observed: ObservedModel) -> ObservedModel:
    """The source's own file, at the end of what it is built from."""
    while observed.inputs:
        observed = observed.inputs[0]
    return observed


def _built_words(observed: ObservedModel) -> tuple[str, ...]:
    """The conditions that tell of what is built."""
    steps = observed.request.steps if observed.request is not None else ()
    return tuple("Converted" if isinstance(step, Conversion) else "Quantized" for step in steps)


def build_line(observed: ObservedModel) -> str:
    """How what was built here differs from what the lock pins; "" where it does not, or the lock does not say."""
    artifact, pinned = observed.artifact, observed.request.locked_build if observed.request is not None else None
    if artifact is None or pinned is None or pinned.digest in ("", f"{SHA256}{artifact.sha256}"):
        return ""
    built = f"{pinned.words} came to {artifact.sha256[:7]} here"
    return f"{built}; the lock pins {short(pinned.digest)}, which {pinned.tool} made"


def upstream_line(seen: Upstream) -> str:
    """`revision main moved 1a2b3c4 -> 5d6e7f8 (3 files, 4.7 GiB)`."""
    what = f"{seen.files} file{'' if seen.files == 1 else 's'}, {human_bytes(seen.size_bytes)}"
    return f"revision {seen.revision} moved {short(seen.held)} -> {short(seen.now)} ({what})"

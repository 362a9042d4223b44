"""What is said of a model in each situation it can be in: conditions, reasons, lifecycle. One row a situation."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from controllers.base import Scene
from controllers.model.assessing import assess
from nexus_ctl.resources.artifact import Artifact, Offer, Pin, Quantization, Request, Upstream
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.lock import Locked, LockedBuild
from nexus_ctl.resources.model import Source
from nexus_ctl.resources.observed import ObservedModel

SOURCE = Request(Source(url="http://models.test/smol.gguf"))
BUILT = replace(SOURCE, steps=(Quantization("Q4_K_M"),))
FILE = Artifact("/cache/blobs/sha256-aa", "aa" * 32, 1000, "etag:1", "http://models.test/smol.gguf")
PIN = Pin("i1", "demo", "smol", SOURCE.key, "{}")
OFFER = Offer("etag:1", 1000, "http://models.test/smol.gguf")
HERE = ObservedModel(SOURCE, FILE)
BEFORE = ObservedModel(BUILT, inputs=(HERE,))
OTHER = replace(BUILT, locked=Locked({}, {}, "", (LockedBuild("quantize", "Q4_K_M", "1", "a tool", 5, "sha256:bb"),)))
MOVED = Upstream("main", "1" * 40, "2" * 40, 1, 1000)


@pytest.mark.parametrize(
    ("observed", "lifecycle", "said"),
    [
        (ObservedModel(SOURCE, offer=OFFER), "UNKNOWN", "-Downloaded:Missing -Verified:Missing -Ready:Missing"),
        (
            ObservedModel(SOURCE, offer=OFFER, partial_bytes=10),
            "DOWNLOADING",
            "-Downloaded:Missing -Verified:Missing -Ready:Missing",
        ),
        (
            ObservedModel(SOURCE, error="no route"),
            "FAILED:DOWNLOADING",
            "-Downloaded:SourceUnavailable -Verified:SourceUnavailable -Ready:SourceUnavailable",
        ),
        (
            ObservedModel(SOURCE, error="no such file", hopeless=True),
            "FAILED:DOWNLOADING",
            (
                "-Downloaded:SourceUnavailable -Verified:SourceUnavailable -Ready:SourceUnavailable"
                " +Stalled:SourceUnavailable"
            ),
        ),
        (HERE, "DOWNLOADED", "+Downloaded:Present +Verified:DigestMatches -Ready:NotPinned"),
        (replace(HERE, pin=PIN), "READY", "+Downloaded:Present +Verified:DigestMatches +Ready:Pinned"),
        (
            replace(HERE, pin=PIN, upstream=MOVED),
            "READY",
            "+Downloaded:Present +Verified:DigestMatches +Ready:Pinned +Drifted:RevisionMoved",
        ),
        (BEFORE, "DOWNLOADED", "+Downloaded:Present -Quantized:NotBuilt -Verified:NotBuilt -Ready:NotBuilt"),
        (
            replace(BEFORE, error="no tool"),
            "FAILED:BUILDING",
            "+Downloaded:Present -Quantized:CannotBeBuilt -Verified:CannotBeBuilt -Ready:CannotBeBuilt",
        ),
        (
            ObservedModel(BUILT, FILE, PIN),
            "READY",
            "+Downloaded:Present +Quantized:Built +Verified:DigestMatches +Ready:Pinned",
        ),
        (
            ObservedModel(OTHER, FILE, PIN),
            "READY",
            "+Downloaded:Present +Quantized:Built +Verified:DigestMatches +Ready:Pinned +Drifted:BuildDiffers",
        ),
        (
            ObservedModel(OTHER, FILE, PIN, upstream=MOVED),
            "READY",
            "+Downloaded:Present +Quantized:Built +Verified:DigestMatches +Ready:Pinned +Drifted:RevisionMoved",
        ),
    ],
)
def test_each_situation_has_its_words(observed: ObservedModel, lifecycle: str, said: str) -> None:
    found = assess(Ref("Model", "smol"), None, observed, cast("Scene", None))
    signs = {"True": "+", "False": "-"}
    assert " ".join(f"{signs[one.status]}{one.type}:{one.reason}" for one in found.conditions) == said
    assert found.lifecycle == lifecycle


def test_all_that_drifted_is_told_at_once() -> None:
    found = assess(Ref("Model", "smol"), None, ObservedModel(OTHER, FILE, PIN, upstream=MOVED), cast("Scene", None))
    told = {one.type: one.message for one in found.conditions}["Drifted"]
    assert told == (
        "revision main moved 1111111 -> 2222222 (1 file, 1000 B); "
        "quantize Q4_K_M came to aaaaaaa here; the lock pins bb, which a tool made"
    )

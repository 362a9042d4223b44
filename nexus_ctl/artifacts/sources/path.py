"""Source `path`: a file of this machine, used where it lies, never copied or deleted. Its content is its identity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nexus_ctl.artifacts.memo import Memo
from nexus_ctl.errors import IntegrityError, Terminal
from nexus_ctl.resources.artifact import Artifact, Offer, Request


def in_place(request: Request, memo: Memo, progress: Callable[[int], None] | None = None) -> Artifact:
    """The file as it is now. Raises Terminal when it cannot be read, IntegrityError when another was declared."""
    assert request.source.path is not None
    path = Path(request.source.path)
    try:
        if not path.is_file():
            raise Terminal(f"{path} is {'not a file' if path.exists() else 'not there'}", code="no-such-source")
        sha256, size_bytes = memo.sha256(path, progress), path.stat().st_size
    except OSError as error:
        raise Terminal(f"{path}: {error.strerror}") from error
    if request.wanted not in (None, sha256):
        hint = "mend spec.sha256 or the file" if request.sha256 else "nexusctl models lock --upgrade"
        raise IntegrityError(f"{path} should be {request.wanted} but is {sha256}", hint=hint)
    return Artifact(str(path), sha256, size_bytes, f"sha256:{sha256}", str(path))


def offer(request: Request, memo: Memo) -> Offer:
    """The file as an offer; raises as `in_place`."""
    artifact = in_place(request, memo)
    return Offer(artifact.identity, artifact.size_bytes, artifact.origin)

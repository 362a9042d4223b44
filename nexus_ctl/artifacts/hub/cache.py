"""The Hugging Face client's cache: what it holds is not downloaded again, and what we download it finds.

    <hub>/models--owner--name/blobs/<etag>                 the content; etag = SHA-256 for large files, git's SHA-1 else
                             /snapshots/<commit>/<file>    symbolic links to blobs
                             /refs/<revision>              the commit

Sharing is by hard link, so nothing is kept twice and either cache may be cleared without the other noticing; between
file systems content is copied in and nothing is put out. What the client put there is never changed or removed.
Source: huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from nexus_ctl.artifacts.disk import write_atomic
from nexus_ctl.artifacts.source import HubPlace, Part
from nexus_ctl.errors import Terminal


def hub_cache_folder(environ: Mapping[str, str]) -> Path:
    """Where the client keeps its cache, by its own variables."""
    given = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    if given:
        return Path(os.path.expandvars(given)).expanduser()
    base = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "~"), ".cache")
    home = environ.get("HF_HOME") or Path(base, "huggingface")
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def cached_parts(cache: Path, repo: str, revision: str) -> tuple[str, tuple[Part, ...]]:
    """(commit, files) of a revision as the client last saw it. Raises Terminal when it never did."""
    folder = _folder(cache, repo)
    ref = folder / "refs" / revision
    commit = ref.read_text().strip() if ref.is_file() else revision
    snapshot = folder / "snapshots" / commit
    parts = []
    for path in sorted(snapshot.glob("**/*")):
        if path.is_file() and path.is_symlink():
            etag, size = path.resolve().name, path.stat().st_size
            name = path.relative_to(snapshot).as_posix()
            is_large = re.fullmatch(r"[0-9a-f]{64}", etag) is not None
            oid = etag if re.fullmatch(r"[0-9a-f]{40}", etag) else None
            if is_large or oid:
                parts.append(Part(name, path.resolve().as_uri(), size, etag if is_large else None, oid))
    if not parts:
        raise Terminal(
            f"offline, and {repo}@{revision} is not in the Hugging Face cache {cache}",
            hint="unset HF_HUB_OFFLINE, or bring the repository into the cache:\n  hf download " + repo,
            code="offline",
        )
    return commit, tuple(parts)


def held(place: HubPlace, part: Part) -> Path | None:
    """The file of the client's cache that should be `part` (its content is still to be proven); None when absent."""
    path = _blob(place, part)
    return path if path.is_file() and path.stat().st_size == part.size_bytes else None


def take(source: Path, target: Path) -> None:
    """Bring a file of the client's cache to `target`: a hard link, or a copy from another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
    with open(target, "rb") as file:
        os.fsync(file.fileno())


def put(place: HubPlace, part: Part, content: Path) -> str:
    """Let the client find `content`: link, snapshot and ref. The path of the link we made; "" when it was there.

    A cache that cannot be written to, or lies on another file system, is left as it is.
    """
    blob = _blob(place, part)
    made = ""
    with suppress(OSError):  # for the client's sake only: our own copy is complete
        blob.parent.mkdir(parents=True, exist_ok=True)
        if not blob.exists():
            os.link(content, blob)
            made = str(blob)
        folder = _folder(Path(place.cache), place.repo)
        pointer = folder / "snapshots" / place.commit / part.name
        pointer.parent.mkdir(parents=True, exist_ok=True)
        if not pointer.is_symlink() and not pointer.exists():
            pointer.symlink_to(os.path.relpath(blob, pointer.parent))
        if place.revision != place.commit:
            write_atomic(folder / "refs" / place.revision, place.commit, durable=False)
    return made


def withdraw(made: Path) -> None:
    """Remove a link that `put` made, with the snapshot entries that point to it."""
    for pointer in made.parent.parent.glob("snapshots/**/*"):
        if pointer.is_symlink() and os.readlink(pointer).endswith(f"/{made.name}"):
            pointer.unlink()
    made.unlink(missing_ok=True)


def _blob(place: HubPlace, part: Part) -> Path:
    return _folder(Path(place.cache), place.repo) / "blobs" / str(part.sha256 or part.git_oid)


def _folder(cache: Path, repo: str) -> Path:
    return cache / ("models--" + repo.replace("/", "--"))

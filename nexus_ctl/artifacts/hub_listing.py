"""The files of a hub repository at its commit, as the client lists them; checked before anything believes a word.

Called within a `Conversation`. A name may become a path on this disk and a line on a terminal, so one name that leads
out of the repository, or holds what no terminal should see, condemns the whole listing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nexus_ctl.errors import Terminal
from nexus_ctl.resources.catalog import RepoFile
from nexus_ctl.resources.foreign_text import is_plain

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub import RepoFile as ListedFile

FILES = 20_000
"""More files than this are no model."""
NAME_CHARACTERS = 1024
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def files_at(api: HfApi, repo: str, commit: str | None) -> tuple[str, tuple[RepoFile, ...]]:
    """(commit, files) of the commit that the hub named. Raises Terminal for a listing that cannot be trusted."""
    from huggingface_hub import RepoFile as Listed

    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise Terminal(f"{repo}: the hub names no commit", code="bad-answer")
    found: list[RepoFile] = []
    for file in api.list_repo_tree(repo, revision=commit, recursive=True):
        if len(found) >= FILES:
            raise Terminal(f"{repo} lists more than {FILES} files", code="bad-answer")
        if isinstance(file, Listed):
            found.append(_checked(repo, file))
        elif not _is_safe(file.path):
            raise _led_out(repo)
    return commit, tuple(found)


def _checked(repo: str, file: ListedFile) -> RepoFile:
    sha256 = file.lfs.sha256 if file.lfs is not None else None
    if not _is_safe(file.path):
        raise _led_out(repo)
    if type(file.size) is not int or file.size < 0 or (sha256 is not None and not _SHA256.fullmatch(sha256)):
        raise Terminal(f"{repo}: the hub gives {file.path} no size or digest that could be true", code="bad-answer")
    return RepoFile(file.path, file.size, sha256, file.blob_id if sha256 is None else None)


def _is_safe(name: object) -> bool:
    return (
        isinstance(name, str)
        and len(name) <= NAME_CHARACTERS
        and is_plain(name)
        and not {"", ".", ".."} & set(name.split("/"))
    )


def _led_out(repo: str) -> Terminal:
    return Terminal(f"{repo}: the hub lists names that lead out of the repository", code="bad-answer")

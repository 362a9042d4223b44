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
_SHA256, _GIT_OID = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


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
    if not _is_safe(file.path):
        raise _led_out(repo)
    digest, form = (file.lfs.sha256, _SHA256) if file.lfs is not None else (file.blob_id, _GIT_OID)
    if type(file.size) is not int or file.size < 0 or not isinstance(digest, str) or not form.fullmatch(digest):
        raise Terminal(f"{repo}: the hub gives {file.path} no size or digest that could be true", code="bad-answer")
    sha256, git_oid = (digest, None) if form is _SHA256 else (None, digest)
    return RepoFile(file.path, file.size, sha256, git_oid)


def _is_safe(name: object) -> bool:
    return (
        isinstance(name, str)
        and len(name) <= NAME_CHARACTERS
        and is_plain(name)
        and not {"", ".", ".."} & set(name.split("/"))
    )


def _led_out(repo: str) -> Terminal:
    return Terminal(f"{repo}: the hub lists names that lead out of the repository", code="bad-answer")

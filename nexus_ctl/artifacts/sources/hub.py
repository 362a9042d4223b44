"""Source `huggingFace`: files of a hub repository at one commit.

The Hugging Face client answers for metadata, listing, log-in and errors; the bytes go through `download.py` over the
same `resolve` addresses, because the client neither resumes after a kill nor notices wrong bytes of the right length.
Identity: the digest of the one file, or of the list of names and digests; so a branch that moved without touching
these files is no change. Offline, the client's own cache is asked what the revision was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar
from urllib.parse import quote

from nexus_ctl.artifacts.hub.cache import cached_parts, hub_cache_folder
from nexus_ctl.artifacts.hub.card import card_of, terms_of
from nexus_ctl.artifacts.hub.client import Conversation, endpoint_of, is_offline, login_token
from nexus_ctl.artifacts.hub.listing import files_at
from nexus_ctl.artifacts.source import HubPlace, Means, Parcel, Part
from nexus_ctl.artifacts.transfer.address import display
from nexus_ctl.artifacts.transfer.transport import persist
from nexus_ctl.errors import IntegrityError, Terminal
from nexus_ctl.resources.artifact import Offer, Request
from nexus_ctl.resources.catalog import SPLIT
from nexus_ctl.resources.model import HuggingFaceSource
from nexus_ctl.resources.normal import digest


def parcel(request: Request, token: str | None, means: Means) -> Parcel:
    """The chosen files at the revision's commit. Raises Terminal, IntegrityError or Unavailable."""
    source = request.source.hugging_face
    assert source is not None
    if request.locked is not None:
        source = source.model_copy(update={"revision": request.locked.commit})
    cache = hub_cache_folder(means.environ)
    endpoint = endpoint_of(means.environ)
    if is_offline(means.environ):
        commit, listed = cached_parts(cache, source.repo, source.revision)
        terms: Mapping[str, str] = {}
    else:
        token = token or login_token(means.environ)
        commit, listed, terms = persist(lambda: _ask(source, endpoint, token), means)
    parts = choose(source, listed)
    place = HubPlace(str(cache), source.repo, source.revision, commit)
    return Parcel(_offer(request, endpoint, commit, parts), parts, token, hub=place, terms=terms)


class Named(Protocol):
    """A file of a listing."""

    @property
    def name(self) -> str:
        """Its path in the repository."""
        ...


NamedT = TypeVar("NamedT", bound=Named)


def choose(source: HuggingFaceSource, listed: Iterable[NamedT]) -> tuple[NamedT, ...]:
    """The files that the patterns choose, sorted by name; a split GGUF whole.

    Raises Terminal when none match, when parts of a split are missing, or when several GGUF models match.
    """
    known = {part.name: part for part in listed}
    found = {name for name in known if _matches(name, source.files or ["*"]) and not _matches(name, source.ignore)}
    if not found:
        offered = ", ".join(sorted(name for name in known if name.endswith((".gguf", ".safetensors")))[:8])
        hint = f"the repository has {offered}" if offered else "the repository has no model file"
        raise Terminal(f"no file of {source.repo} matches", hint=hint, code="no-such-source")
    stems = {split["stem"] for split in map(SPLIT.match, found) if split is not None}
    found |= {name for name in known if (split := SPLIT.match(name)) is not None and split["stem"] in stems}
    models = {split["stem"] if (split := SPLIT.match(name)) else name for name in found if name.endswith(".gguf")}
    if len(models) > 1:
        raise Terminal(
            f"{len(models)} models of {source.repo} match: {', '.join(sorted(models)[:8])}",
            hint="narrow spec.source.huggingFace.files to one",
        )
    for stem in sorted(stems):
        _check_whole(source, stem, found)
    return tuple(known[name] for name in sorted(found))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """As the hub's own client does it: `*` crosses `/`, and a folder stands for what is in it."""
    return any(fnmatchcase(name, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns)


def _check_whole(source: HuggingFaceSource, stem: str, found: Iterable[str]) -> None:
    parts = [split for split in map(SPLIT.match, found) if split is not None and split["stem"] == stem]
    count = int(parts[0]["count"])
    missing = sorted(set(range(1, count + 1)) - {int(split["number"]) for split in parts})
    if missing:
        raise Terminal(f"{source.repo} lacks parts {', '.join(map(str, missing))} of {count} of {stem}")


def _offer(request: Request, endpoint: str, commit: str, parts: tuple[Part, ...]) -> Offer:
    source = request.source.hugging_face
    assert source is not None
    shown = parts[0].name if len(parts) == 1 else f"{len(parts)} files"
    origin = f"{display(endpoint)}/{source.repo}@{commit[:12]}/{shown}"
    size_bytes = sum(part.size_bytes or 0 for part in parts)
    if len(parts) > 1:
        if request.sha256 is not None:
            raise Terminal(f"{origin}: spec.sha256 is of one file", hint="narrow files to one, or leave sha256 out")
        return Offer(f"files:{digest([[part.name, _content(part)] for part in parts], 64)}", size_bytes, origin)
    if request.wanted is None:
        return Offer(_content(parts[0]), size_bytes, origin)
    if parts[0].sha256 not in (None, request.wanted):
        raise IntegrityError(f"{origin} should be {request.wanted} but the hub says {parts[0].sha256}")
    return Offer(f"sha256:{request.wanted}", size_bytes, origin)


def _content(part: Part) -> str:
    return f"sha256:{part.sha256}" if part.sha256 is not None else f"git:{part.git_oid}"


def _ask(
    source: HuggingFaceSource, endpoint: str, token: str | None
) -> tuple[str, tuple[Part, ...], Mapping[str, str]]:
    """(commit, files, licence and access) of the revision."""
    with Conversation(endpoint, token).api(source.repo, source.revision) as api:
        info = api.model_info(source.repo, revision=source.revision)
        if info.gated:  # everybody may list it; whether this token may read it is another question
            api.auth_check(source.repo)
        commit, files = files_at(api, source.repo, info.sha)
    parts = tuple(
        Part(
            name=file.name,
            url=f"{endpoint}/{source.repo}/resolve/{commit}/{quote(file.name)}",
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            git_oid=file.git_oid,
        )
        for file in files
    )
    return commit, parts, terms_of(card_of(info))

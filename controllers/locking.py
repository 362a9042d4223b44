"""What a stack's lock should say: the entries it has, and those that are missing, contradicted or to be moved.

Called by `models lock`, and by `apply` for what it brought anew. It reads the world and writes nothing; where a source
states no digest, asking it brings the bytes into the cache. The rule: an entry that stands, and still is of the wish
that the manifest makes, is only made anew by who asks for an upgrade.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from controllers.image import named_by
from controllers.model.requests import KIND as MODEL
from controllers.model.requests import declared_request
from nexus_ctl.engines import table as engines
from nexus_ctl.errors import ActionError, UsageError
from nexus_ctl.execution.world import World
from nexus_ctl.resources.artifact import Progress, Request
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.lock import Lock, Locked, asked
from nexus_ctl.resources.model import ModelSpec

Tell = Callable[[str, Progress], None]
"""`(model, how far its download is)`."""


def relocked(
    world: World, stack: Stack, names: frozenset[str], *, upgrade: bool, rebuilt: bool = False, tell: Tell
) -> Lock:
    """The lock after `models lock`: of `names` (Models, or images as a Deployment names them), or of everything.

    Builds are locked as they are here where nothing says otherwise; with `upgrade` or `rebuilt` whatever was locked.

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
    wanted = sorted(declared & names if names else declared)
    for name in wanted:
        spec = stack.resources[Ref(MODEL, name)].spec
        if upgrade or old.of(name, spec) is None:
            before = old.models[name].builds if name in old.models else ()
            models[name] = replace(_entry(world, stack, name, ask=upgrade, tell=tell), builds=before)
    models |= _with_builds(world, stack, models, wanted, anew=upgrade or rebuilt)
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
    here = [name for name in models if _is_here(world, stack, name, models)]
    models |= _with_builds(world, stack, models, here, anew=False)
    images = dict(stack.lock.images)
    for name in _images(world, stack).keys() - images.keys():
        local = world.images.image(name) if world.images is not None else None
        images |= {name: local.digest} if local is not None else {}
    return Lock(models, images)


def _entry(world: World, stack: Stack, name: str, *, ask: bool, tell: Tell) -> Locked:
    spec = stack.resources[Ref(MODEL, name)].spec
    commit, files = world.artifacts.contents(
        _source_of(spec), lambda step: tell(name, step), _token(world, spec), ask=ask
    )
    return Locked(asked(spec.source, stack.base_dir), files, commit)


def _source_of(spec: ModelSpec) -> Request:
    """The source's own files."""
    return Request(spec.source, spec.sha256)


def _with_builds(
    world: World, stack: Stack, models: Mapping[str, Locked], names: Iterable[str], *, anew: bool
) -> Mapping[str, Locked]:
    """The entries of `names` with what is built of their sources; `models` are all, since one may build on another."""
    found = {}
    for name in names:
        spec, request = stack.resources[Ref(MODEL, name)].spec, _request(stack, name, models)
        builds = world.artifacts.locked_builds(request, _token_if_any(world, spec), anew=anew) if request.steps else ()
        found[name] = replace(models[name], builds=builds)
    return found


def _is_here(world: World, stack: Stack, name: str, models: Mapping[str, Locked]) -> bool:
    return Ref(MODEL, name) in stack.resources and world.artifacts.find(_request(stack, name, models)) is not None


def _request(stack: Stack, name: str, models: Mapping[str, Locked]) -> Request:
    return declared_request(replace(stack, lock=Lock(models)), name)


def _token_if_any(world: World, spec: ModelSpec) -> str | None:
    try:
        return _token(world, spec)
    except ActionError:
        return None  # what is here needs none; where the source must be asked, it says so


def _token(world: World, spec: ModelSpec) -> str | None:
    return world.secret(spec.source.token.value_from) if spec.source.token is not None else None


def _images(world: World, stack: Stack) -> Mapping[str, Resource[Any]]:
    """The images that deployments name by a tag; one that is named by its digest is pinned already."""
    if world.images is None:
        return {}
    deployments = {ref: one for ref, one in stack.resources.items() if ref.kind == "Deployment"}
    launches = {ref: engines.launch(one.spec) for ref, one in deployments.items()}
    found = named_by(launches, stack.settings.runtime)
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

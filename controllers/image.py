"""Container images: nobody declares them by themselves; every image that a deployment names is one, so that a pull is
planned, shown and done like a download. They are never removed: other things on the machine may use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controllers.base import Assessment, Controller, Scene, Sighting
from controllers.removal import removal
from nexus_ctl.errors import ActionError
from nexus_ctl.execution.world import World
from nexus_ctl.planning.action import PullImage
from nexus_ctl.planning.change import Change, Reason, Step, Verb
from nexus_ctl.planning.plan import blocked
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.artifact import HEADROOM_BYTES
from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.envelope import Metadata, Ref, Resource
from nexus_ctl.resources.image import ImageSpec, LocalImage, ObservedImage, PullSize
from nexus_ctl.resources.launch import LaunchSpec
from nexus_ctl.resources.lock import short
from nexus_ctl.resources.normal import Normal
from nexus_ctl.resources.stack import RuntimeSettings

KIND = "Image"
DEFAULT_REGISTRY = "docker.io"


def named_by(
    launches: Mapping[Ref, LaunchSpec], settings: RuntimeSettings
) -> Mapping[Ref, tuple[Resource[ImageSpec], frozenset[Ref]]]:
    """The images that deployments name, each with the deployments that do."""
    users: dict[str, set[Ref]] = {}
    for ref, launch in launches.items():
        if launch.image:
            users.setdefault(launch.image, set()).add(ref)
    specs = {
        image: ImageSpec(pull_policy=settings.pull_policy, login=settings.registries.get(registry(image)))
        for image in users
    }
    return {
        Ref(KIND, image): (Resource(KIND, Metadata(image), specs[image]), frozenset(refs))
        for image, refs in users.items()
    }


def registry(image: str) -> str:
    """The registry's host: the part before the first slash when it looks like one."""
    host, slash, _ = image.partition("/")
    return host if slash and ("." in host or ":" in host or host == "localhost") else DEFAULT_REGISTRY


def present(sighting: Sighting, set_name: str) -> frozenset[Ref]:
    """None: an image belongs to no stack."""
    return frozenset()


def observe(
    world: World, sighting: Sighting, scene: Scene, desired: Mapping[Ref, Resource[Any]], refs: frozenset[Ref]
) -> Mapping[Ref, ObservedImage]:
    """What is here; the registry is asked where an image is missing, or may have moved and is to follow."""
    return {ref: _look(world, scene, desired[ref]) for ref in refs if ref in desired}


def _look(world: World, scene: Scene, desired: Resource[ImageSpec]) -> ObservedImage:
    assert world.images is not None
    spec, name = desired.spec, desired.metadata.name
    local = world.images.image(name)
    pinned = scene.lock.images.get(name, "") if scene.lock is not None else ""
    if pinned:
        return _held(world, desired, local, pinned, ask=scene.refresh or spec.pull_policy == "Always")
    follow = scene.refresh or spec.pull_policy == "Always"
    if spec.pull_policy == "Never" or (local is not None and not follow):
        return ObservedImage(local)
    try:
        login = world.credentials(spec.login)
        offered = world.images.offered_digest(name, login)
    except ActionError as error:
        return ObservedImage(local, error=error.told)
    if local is not None and offered == local.digest:
        return ObservedImage(local, offered)
    return ObservedImage(local, offered, world.images.pull_size(name, offered, login))


def _held(
    world: World, desired: Resource[ImageSpec], local: LocalImage | None, pinned: str, *, ask: bool
) -> ObservedImage:
    """An image that the lock pins: the registry is asked only whether the tag moved, and that changes nothing."""
    assert world.images is not None
    spec, name, tag_names, error, size = desired.spec, desired.metadata.name, "", "", None
    try:
        login = world.credentials(spec.login)
        if local is None or local.digest != pinned:
            size = world.images.pull_size(name, pinned, login)
        tag_names = world.images.offered_digest(name, login) if ask and spec.pull_policy != "Never" else ""
    except ActionError as caught:
        error = caught.told
    return ObservedImage(local, pinned, size, pinned, tag_names, error)


def applied(observed: ObservedImage) -> Normal | None:
    """Images carry no wish of ours."""
    return None


def plan(ref: Ref, desired: Resource[ImageSpec] | None, observed: ObservedImage, scene: Scene) -> Change:
    """Pull what is not here, or has moved and is to follow; nothing that does not fit on the engine's disk."""
    if desired is None:
        return removal(ref, scene, "", ())
    local, offered = observed.local, observed.offered_digest
    if observed.pinned and desired.spec.pull_policy == "Never" and (local is None or local.digest != offered):
        detail = f"the lock pins {offered}, which is not on this machine, and pullPolicy is Never"
        return blocked(ref, Reason("image_unavailable", source="drift", detail=detail))
    if observed.pinned and observed.tag_names not in ("", observed.pinned):
        line = f"the tag moved {short(observed.pinned)} -> {short(observed.tag_names)}; pinned, unchanged"
        moved = (f"{line}; to follow it: nexusctl models lock --upgrade {ref.name}",)
        return replace(plan(ref, desired, replace(observed, tag_names=""), scene), drift=moved)
    if local is not None and offered in ("", local.digest):
        unasked = (
            (f"what is here stays; whether the tag has moved is unknown: {observed.error}",) if observed.error else ()
        )
        return Change(ref, Verb.NO_OP, notes=unasked)
    if local is None and not offered:
        detail = observed.error or "it is not on this machine, and pullPolicy is Never"
        return blocked(ref, Reason("image_unavailable", source="drift", detail=detail))
    size = observed.pull or PullSize()
    if not size.fits:
        code = "insufficient_disk" if local is None else "image_kept"
        return blocked(ref, Reason(code, source="drift", detail=_too_large(size)))
    reason = Reason("not_found")
    notes = [f"pull {ref.name}@{offered}", _size_line(size)]
    if local is not None:
        reason = Reason("image_digest_changed", before=local.digest, after=offered, source="drift")
        notes.append(f"here are {human_bytes(local.size_bytes)} of another digest")
    return Change(
        ref,
        Verb.CREATE if local is None else Verb.UPDATE,
        (reason,),
        (Step(PullImage(ref.name, desired.spec.login, observed.pinned)),),
        tuple(notes),
        download_bytes=size.download_bytes or 0,
    )


def _too_large(size: PullSize) -> str:
    """Why it does not fit on the engine's disk, with the figures and the way out."""
    return (
        f"the pull needs about {human_bytes(size.room_bytes)} ({human_bytes(size.download_bytes)} to download, about "
        f"{human_bytes(size.unpacked_bytes)} unpacked); {size.place} has {human_bytes(size.free_bytes)} free, of which "
        f"{human_bytes(HEADROOM_BYTES)} are kept for everything else; free some:\ndocker image prune"
    )


def _size_line(size: PullSize) -> str:
    """`1.3 GiB to download (3 of 12 layers are here), about 3.2 GiB on disk`."""
    if size.download_bytes is None:
        return f"size unknown: {size.unknown}"
    here = f" ({size.layers_here} of {size.layers} layers are here)" if size.layers_here else ""
    return f"{human_bytes(size.download_bytes)} to download{here}, about {human_bytes(size.unpacked_bytes)} on disk"


def forget(ref: Ref, observed: ObservedImage) -> tuple[Step, ...]:
    """An image is never renamed."""
    return ()


def assess(ref: Ref, desired: Resource[ImageSpec] | None, observed: ObservedImage, scene: Scene) -> Assessment:
    """Ready when it is here."""
    if observed.local is None:
        return Assessment((Condition("Ready", "False", "Missing", observed.error or "not on this machine"),))
    columns = {
        "SIZE": human_bytes(observed.local.size_bytes),
        "DIGEST": observed.local.digest.removeprefix("sha256:")[:12],
    }
    return Assessment((Condition("Ready", "True", "Present", observed.local.digest),), columns=columns)


CONTROLLER = Controller(KIND, present, observe, applied, plan, forget, assess)

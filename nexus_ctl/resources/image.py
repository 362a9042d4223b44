"""A container image as a value: what is here, what a registry offers, how a pull goes. Not declared by itself: a
Deployment names its image, and planning makes an object of it so that a pull is planned like a download.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from nexus_ctl.resources.artifact import HEADROOM_BYTES
from nexus_ctl.resources.field import INERT, Spec
from nexus_ctl.resources.secret import SecretSource

PullPolicy = Literal["IfNotPresent", "Always", "Never"]


class RegistryLogin(Spec):
    """Credentials of one registry; the password by reference, never stored."""

    username: str
    """User or robot name."""
    password: SecretSource
    """The password or token, by reference."""


class ImageSpec(Spec):
    """How an image is to be had."""

    pull_policy: Annotated[PullPolicy, INERT] = "IfNotPresent"
    login: Annotated[RegistryLogin | None, INERT] = None


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image of the engine. `digest` is what the registry calls it (`sha256:...`); for one that never came from a
    registry, the engine's own id. `size_bytes` is its size on disk, `entrypoint` what it starts by itself."""

    digest: str
    size_bytes: int
    entrypoint: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Credentials:
    """A login with its password read, for the moment of a call."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class PullSize:
    """What a pull would download, and the room for it. `unpacked_bytes` is an estimate: registries do not say."""

    download_bytes: int | None = None
    """Of the layers that are not here; None when unknown."""
    unpacked_bytes: int | None = None
    layers: int = 0
    layers_here: int = 0
    place: str = ""
    """Where the engine keeps images."""
    free_bytes: int | None = None
    """There; None when unknown."""
    unknown: str = ""
    """Why the bytes are not known."""

    @property
    def room_bytes(self) -> int | None:
        """The most it takes while it lasts: what was downloaded beside what it unpacks to; None when unknown."""
        if self.download_bytes is None or self.unpacked_bytes is None:
            return None
        return self.download_bytes + self.unpacked_bytes

    @property
    def fits(self) -> bool:
        """Whether there is room for it beside the headroom; so where it is not known that there is none."""
        need, free = self.room_bytes, self.free_bytes
        return need is None or free is None or need + HEADROOM_BYTES <= free


@dataclass(frozen=True, slots=True)
class ObservedImage:
    """An image in the world: what is here, and what the registry offers where it was asked."""

    local: LocalImage | None = None
    offered_digest: str = ""
    pull: PullSize | None = None
    """What a pull of the offered digest would take; None where that is here already."""
    pinned: str = ""
    """The digest that the lock holds it to; then nothing else is offered."""
    tag_names: str = ""
    """What the registry has under the tag, where a pinned image was asked after."""
    error: str = ""
    """Why the registry could not be asked."""

    @property
    def identity(self) -> str:
        """What a replica made after the plan will run; "" when unknown. What cannot be pulled changes nothing."""
        if self.local is not None and (not self.offered_digest or (self.pull is not None and not self.pull.fits)):
            return self.local.digest
        return self.offered_digest

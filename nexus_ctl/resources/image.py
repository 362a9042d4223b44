"""A container image as a value: what is here, what a registry offers, how a pull goes. Not declared by itself: a
Deployment names its image, and planning makes an object of it so that a pull is planned like a download.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

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
class ObservedImage:
    """An image in the world: what is here, and what the registry offers where it was asked."""

    local: LocalImage | None = None
    offered_digest: str = ""
    error: str = ""
    """Why the registry could not be asked."""

    @property
    def identity(self) -> str:
        """What a replica made after the plan will run; "" when unknown."""
        return self.offered_digest or (self.local.digest if self.local is not None else "")

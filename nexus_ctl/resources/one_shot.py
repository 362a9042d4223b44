"""A program of a container image, and one run of it to its end: what a build asks of a container engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HostedImage:
    """An image as an engine has it. `image_id` names its content; `digest` is the one of its registry, where it has
    one."""

    image: str
    image_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class OneShot:
    """One run: no network, a read-only root, nothing else to write to than one folder.

    `name` is the same for the same work, so that what a killed run left is found. `reads` are files of this machine by
    their path inside.
    """

    name: str
    image_id: str
    argv: tuple[str, ...]
    """The program by its path inside, and its words."""
    reads: Mapping[str, str]
    writes: tuple[str, str]
    """A folder of this machine, and its path inside."""
    memory_bytes: int
    cores: int


class ContainerPrograms(Protocol):
    """Programs out of images that are on this machine; nothing is pulled. Methods raise ActionError."""

    def hosted(self, image: str) -> HostedImage | None:
        """The image as it is here; None when it is not."""
        ...

    def program(self, image_id: str, name: str) -> str:
        """Where the program lies in the image: beside its entry point, else on its PATH; "" when it does not."""
        ...

    def run(self, job: OneShot, tick: Callable[[], None]) -> str:
        """Run to the end; "" when it succeeded, else the last of what it said.

        What an earlier run of the name left is ended first. `tick` is called several times a second; what it raises
        ends the program. Whatever ends, no container is left.
        """
        ...

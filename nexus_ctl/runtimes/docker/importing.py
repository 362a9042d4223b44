"""`import docker/NAME`: read one container and its image, and say it as manifests. The I/O around `adoption.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from docker.errors import ImageNotFound
from docker.errors import NotFound as Missing

from nexus_ctl.errors import Terminal, UsageError
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.runtimes.docker import connection
from nexus_ctl.runtimes.docker.address import find
from nexus_ctl.runtimes.docker.adoption import manifests_from_inspect
from nexus_ctl.runtimes.docker.errors import translated
from nexus_ctl.runtimes.docker.left_out import left_out


@dataclass(frozen=True, slots=True)
class Imported:
    """A container in our words: plain documents in the order to write them, and what they do not say."""

    manifests: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


def import_container(name: str, url: str = "") -> Imported:
    """The container of that name (or id) on this machine's engine; nothing is changed.

    Raises UsageError (no such container, or it is nexusctl's own), Terminal (it cannot be said), RuntimeUnreachable.
    """
    address = find(url)
    api = connection.connect(address)
    try:
        with translated(name):
            try:
                inspect: dict[str, Any] = api.inspect_container(name)
            except Missing as error:
                raise UsageError(
                    f"there is no container {name} on {address.url}", hint="docker ps -a", code="unknown-object"
                ) from error
            try:
                image: dict[str, Any] = api.inspect_image(inspect["Image"])
            except ImageNotFound as error:
                raise Terminal(f"{name}: its image {inspect['Image']} is gone") from error
    finally:
        api.close()
    owner = Ownership.from_labels(inspect["Config"].get("Labels") or {})
    if owner is not None:
        raise UsageError(
            f"{name} is a replica of {owner.kind}/{owner.name} in the stack {owner.set}",
            hint=f"nexusctl get {owner.kind.lower()}/{owner.name} -o yaml",
            code="already-ours",
        )
    return Imported(manifests_from_inspect(inspect, image), left_out(inspect, image))

"""What a registry offers for an image: the digest, as the engine is told it, and what a pull of it would take.

Called by planning's observation. The rule: nothing is brought here. The digest is asked by the engine, which knows its
mirrors; the bytes are asked by us (`registry.py`), because engines do not tell them, and may stay unknown.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from docker.auth import load_config, resolve_repository_name
from docker.errors import DockerException, ImageNotFound
from docker.utils import parse_repository_tag

from nexus_ctl.errors import Retryable, Terminal
from nexus_ctl.resources.image import Credentials, PullSize
from nexus_ctl.runtimes.docker.errors import translated
from nexus_ctl.runtimes.docker.images import auth_of
from nexus_ctl.runtimes.docker.registry import Layer, Platform, Repository, Unanswered

if TYPE_CHECKING:
    from docker import APIClient

LOOPBACK = ("127.0.0.0/8",)
"""What engines take without a certificate where they do not say it (Podman): what never leaves the machine."""
UNPACKED_RATIO = 2.5
"""Bytes that a packed layer takes unpacked, per byte downloaded; CUDA images measure 2 to 2.4."""


def offered_digest(api: APIClient, image: str, login: Credentials | None = None) -> str:
    """The digest that the registry would deliver now. Raises Terminal (no such image, no access) or Retryable."""
    with translated(image):
        offered = api.inspect_distribution(image, auth_config=auth_of(login))
    return str(offered["Descriptor"]["digest"])


def podmans_digest(api: APIClient, image: str, login: Credentials | None = None) -> str:
    """The same for Podman, which asks no registry on request. Raises Terminal or Retryable."""
    with translated(image):
        info = api.info()
    try:
        return _repository(info, image, login).digest(parse_repository_tag(image)[1] or "latest")
    except Unanswered as error:
        raise (Terminal if error.refused else Retryable)(f"{image}: {error}") from error


def pull_size(api: APIClient, image: str, digest: str, login: Credentials | None = None) -> PullSize:
    """What a pull of that digest would download and take; layers that the engine has are not counted.

    An engine has a layer when one of its images has it on top of the same layers. Raises RuntimeUnreachable; a registry
    that does not answer makes the size unknown.
    """
    with translated(image):
        info, version = api.info(), api.version()
    place, free = _room(str(info.get("DockerRootDir") or ""))
    try:
        layers = _repository(info, image, login).layers(digest, Platform(version["Os"], version["Arch"]))
    except Unanswered as error:
        return PullSize(place=place, free_bytes=free, unknown=str(error))
    with translated(image):
        here = max((_shared(layers, known) for known in _chains(api)), default=0)
    missing = layers[here:]
    return PullSize(
        download_bytes=sum(layer.download_bytes for layer in missing),
        unpacked_bytes=sum(round(layer.download_bytes * (UNPACKED_RATIO if layer.packed else 1)) for layer in missing),
        layers=len(layers),
        layers_here=here,
        place=place,
        free_bytes=free,
    )


def _repository(info: Mapping[str, Any], image: str, login: Credentials | None) -> Repository:
    registry, name = resolve_repository_name(parse_repository_tag(image)[0])
    return Repository(registry, name, login or _known_login(registry), insecure=_is_insecure(info, registry))


def _known_login(registry: str) -> Credentials | None:
    """What `docker login` left for this registry, as the engine is handed it for a pull."""
    try:
        found = load_config().resolve_authconfig(registry) or {}
    except DockerException:  # a credential helper that is missing or broken: the pull then says so
        return None
    user, password = found.get("username") or found.get("Username"), found.get("password") or found.get("Password")
    return Credentials(user, password) if user and password else None


def _is_insecure(info: Mapping[str, Any], registry: str) -> bool:
    """Whether the engine takes this registry without a known certificate."""
    said = info.get("RegistryConfig") or {}
    if registry in (named := said.get("IndexConfigs") or {}):
        return not named[registry].get("Secure", True)
    host = registry.rpartition(":")[0] or registry
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError:
        return False
    return any(address in ip_network(cidr) for cidr in said.get("InsecureRegistryCIDRs") or LOOPBACK)


def _room(place: str) -> tuple[str, int | None]:
    """Where the engine keeps images and the bytes free there; None where this machine does not show them."""
    try:
        return place, shutil.disk_usage(place).free
    except OSError:
        return place, None


def _chains(api: APIClient) -> Iterator[Sequence[str]]:
    """The layers of each image of the engine, lowest first."""
    for row in api.images():
        try:
            yield (api.inspect_image(row["Id"]).get("RootFS") or {}).get("Layers") or ()
        except ImageNotFound:  # removed meanwhile
            continue


def _shared(layers: Sequence[Layer], known: Sequence[str]) -> int:
    """How many of the lowest layers are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0].diff_id == pair[1], zip(layers, known, strict=False)))

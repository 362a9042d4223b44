"""What images the engine has, and the pull. What a pull would bring is `offers.py`.

Called by planning's observation and by execution (pull). The rule: a replica is made only from what is here; only
`pull` brings anything, and an image given by digest is that image or an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from docker.errors import ImageNotFound
from docker.utils import parse_repository_tag

from nexus_ctl.errors import Terminal
from nexus_ctl.resources.artifact import Progress, ProgressSink
from nexus_ctl.resources.image import Credentials, LocalImage
from nexus_ctl.runtimes.docker.connection import TIMEOUT_SECONDS
from nexus_ctl.runtimes.docker.container import ImageFacts
from nexus_ctl.runtimes.docker.errors import meaning, translated

if TYPE_CHECKING:
    from docker import APIClient

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def image_facts(api: APIClient, image: str) -> ImageFacts:
    """What the image says of itself. Raises Terminal when it is not here."""
    with translated(image):
        try:
            found = api.inspect_image(image)
        except ImageNotFound as error:
            raise Terminal(f"the image {image} is not on this machine", hint=f"docker pull {image}") from error
    config = found.get("Config") or {}
    env = dict(word.partition("=")[::2] for word in config.get("Env") or ())
    path = tuple(env.get("PATH", DEFAULT_PATH).split(":"))
    return ImageFacts(found["Id"], tuple(config.get("Entrypoint") or ()), path)


def observed_image(api: APIClient, image: str) -> LocalImage | None:
    """The image as it is here; None when it is not."""
    with translated(image):
        try:
            found = api.inspect_image(image)
        except ImageNotFound:
            return None
    digests = [word.partition("@")[2] for word in found.get("RepoDigests") or ()]
    entrypoint = tuple((found.get("Config") or {}).get("Entrypoint") or ())
    return LocalImage(digests[0] if digests else found["Id"], found["Size"], entrypoint)


def by_podmans_digest(api: APIClient, image: str, found: LocalImage) -> LocalImage:
    """The same with the digest it was pulled by: Podman lists an index and the image chosen from it, in no order."""
    address = f"{api.base_url}/v4.0.0/libpod/images/{quote(image, safe='')}/json"
    with translated(image):
        answer = api.get(address, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
    return replace(found, digest=str(answer.json()["Digest"]))


def pull(api: APIClient, image: str, login: Credentials | None, progress: ProgressSink, *, digest: str = "") -> None:
    """Bring the image here, layer by layer; layers that are here already are not asked for again.

    With `digest` that one is brought, whatever the tag names by now, and the tag then names it on this engine.
    Raises Terminal (no such image, no access, wrong digest) or Retryable (network, disk full).
    """
    repository, tag = parse_repository_tag(image)
    sizes: dict[str, Progress] = {}
    with translated(image):
        for step in api.pull(
            repository, tag=digest or tag or "latest", stream=True, decode=True, auth_config=auth_of(login)
        ):
            if "error" in step:
                raise meaning(image, 500, step["error"])
            layer = _layer_progress(step, sizes)
            if layer is not None:
                sizes[step["id"]] = layer
                progress(_total(sizes))
        if digest:
            api.tag(f"{repository}@{digest}", repository, tag or "latest")


def auth_of(login: Credentials | None) -> dict[str, str] | None:
    """A login in the SDK's form."""
    return {"username": login.username, "password": login.password} if login else None


def _layer_progress(step: Mapping[str, object], sizes: Mapping[str, Progress]) -> Progress | None:
    """The layer's new state; None for a step that says nothing about bytes."""
    known = sizes.get(str(step.get("id", "")))
    detail = step.get("progressDetail")
    if step.get("status") == "Downloading" and isinstance(detail, Mapping) and detail.get("total"):
        return Progress("pull", int(detail["current"]), int(detail["total"]))
    if step.get("status") in ("Download complete", "Pull complete") and known is not None:
        return Progress("pull", known.total_bytes or 0, known.total_bytes)
    return None


def _total(sizes: Mapping[str, Progress]) -> Progress:
    return Progress("pull", sum(s.done_bytes for s in sizes.values()), sum(s.total_bytes or 0 for s in sizes.values()))

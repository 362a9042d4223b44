"""FakeImages: a runtime's images and the registry behind them, in memory."""

from __future__ import annotations

from nexus_ctl.errors import Retryable, Terminal
from nexus_ctl.resources.artifact import Progress, ProgressSink
from nexus_ctl.resources.image import Credentials, LocalImage, PullSize


class FakeImages:
    """`here` is what the engine has, `registry` what a pull would bring. `reachable` False: the network is away.

    `private` maps an image to the password its registry wants. What is downloaded is what it takes unpacked.
    `free_bytes` is the engine's disk, None = unknown.
    """

    def __init__(self) -> None:
        self.here: dict[str, LocalImage] = {}
        self.registry: dict[str, LocalImage] = {}
        self.private: dict[str, str] = {}
        self.reachable = True
        self.free_bytes: int | None = None
        self.pulls: list[str] = []

    def image(self, image: str) -> LocalImage | None:
        return self.here.get(image)

    def offered_digest(self, image: str, login: Credentials | None = None) -> str:
        return self._offered(image, login).digest

    def pull_size(self, image: str, digest: str, login: Credentials | None = None) -> PullSize:
        size = next((one.size_bytes for one in self.registry.values() if one.digest == digest), 0)
        return PullSize(size, size, layers=1, place="/images", free_bytes=self.free_bytes)

    def pull(self, image: str, login: Credentials | None, progress: ProgressSink, *, digest: str = "") -> LocalImage:
        offered = self._offered(f"{image}@{digest}" if digest else image, login)
        progress(Progress("pull", offered.size_bytes, offered.size_bytes))
        self.pulls.append(image)
        self.here[image] = offered
        return offered

    def _offered(self, image: str, login: Credentials | None) -> LocalImage:
        if not self.reachable:
            raise Retryable("the registry does not answer")
        if image not in self.registry:
            raise Terminal(f"no such image: {image}")
        if image in self.private and (login is None or login.password != self.private[image]):
            raise Terminal(f"{image}: access denied")
        return self.registry[image]

"""A cache and an origin to fetch from, with words for what these tests do most."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.source import Means, Patience
from nexus_ctl.artifacts.transfer.throttle import Throttle
from nexus_ctl.resources.artifact import HEADROOM_BYTES, Artifact, Progress, Request
from nexus_ctl.resources.model import Source
from tests.fakes.clock import FakeClock
from tests.fakes.http_origin import HttpOrigin


@dataclass
class Bench:
    """One cache and one origin. `told` collects all progress."""

    root: Path
    origin: HttpOrigin
    environ: dict[str, str] = field(default_factory=dict)
    patience: Patience = Patience(failures=3, stall_seconds=20)
    clock: FakeClock = field(default_factory=FakeClock)
    told: list[Progress] = field(default_factory=list)
    throttle: Throttle | None = None
    reserve_bytes: int = HEADROOM_BYTES

    @property
    def cache(self) -> Cache:
        """Opened anew each time, as another process would."""
        means = Means(self.clock, self.environ, self.patience, throttle=self.throttle, reserve_bytes=self.reserve_bytes)
        return Cache(self.root, means)

    def url(self, path: str = "/model.gguf", sha256: str | None = None) -> Request:
        return Request(Source(url=self.origin.url + path), sha256)

    def fetch(self, request: Request, token: str | None = None) -> Artifact:
        cache = self.cache
        return cache.fetch(request, cache.resolve(request, token), self.told.append, token)

    def files(self, folder: str) -> list[Path]:
        """What lies in a folder of the cache, sorted."""
        return sorted(path for path in (self.root / folder).glob("**/*") if path.is_file())


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

"""DockerRuntime: the runtime port on the Docker engine of this machine.

Called by execution and by observing, from many threads and many nexusctl processes at once. The rule: the engine is
the truth; `details.py` says what is remembered of it, and for how short a time.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, ImageNotFound
from docker.errors import NotFound as Missing

from nexus_ctl.clock import Clock, SystemClock
from nexus_ctl.errors import NotFound, Refused, Retryable, RuntimeUnreachable, Terminal
from nexus_ctl.resources.adoption import Candidate
from nexus_ctl.resources.artifact import ProgressSink
from nexus_ctl.resources.image import Credentials, LocalImage, PullSize
from nexus_ctl.resources.launch import Limits
from nexus_ctl.resources.one_shot import ContainerPrograms
from nexus_ctl.resources.ownership import MANAGED_BY, PREFIX, Ownership
from nexus_ctl.resources.replica import ObservedReplica, Replica
from nexus_ctl.runtimes.adoptions import Adoptions
from nexus_ctl.runtimes.docker import address, connection, events, images, networks, offers
from nexus_ctl.runtimes.docker.candidate import candidate
from nexus_ctl.runtimes.docker.container import (
    SECRET_NAMES,
    SHELL,
    ImageFacts,
    container_config,
    limit_fields,
    program,
    with_secret_mount,
)
from nexus_ctl.runtimes.docker.details import Details
from nexus_ctl.runtimes.docker.errors import translated
from nexus_ctl.runtimes.docker.forgotten import Forgotten, forgotten
from nexus_ctl.runtimes.docker.images import image_facts
from nexus_ctl.runtimes.docker.observation import observed_replica
from nexus_ctl.runtimes.docker.programs import DockerPrograms
from nexus_ctl.runtimes.docker.secrets import SecretFiles
from nexus_ctl.runtimes.port import Capabilities
from nexus_ctl.runtimes.watch import SILENCE_SECONDS, Feed, Watch

if TYPE_CHECKING:
    from docker import APIClient

CALLS_AT_ONCE = 8
"""The engine gains nothing from more."""
COARSE_LINES = 20
"""Podman's times are whole seconds: so many lines within one are told apart."""
REMOVAL_SECONDS = 60.0
POLL_SECONDS = 0.1


class DockerRuntime:
    """Replicas as containers. See the package for where each part lies."""

    def __init__(
        self,
        instance: str,
        url: str = "",
        clock: Clock | None = None,
        secrets: SecretFiles | None = None,
        adoptions: Adoptions | None = None,
    ) -> None:
        self.address = address.find(url)
        self.instance = instance
        self._clock = clock or SystemClock()
        self._secrets = secrets or SecretFiles()
        self._adoptions = adoptions or Adoptions()
        self._details = Details(self._clock)

    @cached_property
    def api(self) -> APIClient:
        """The client, connected with the first use. Raises RuntimeUnreachable."""
        return connection.connect(self.address)

    @property
    def url(self) -> str:
        """Where the engine listens."""
        return self.address.url

    def identity(self) -> str:
        """What tells this engine from others, the same by whatever address. Raises RuntimeUnreachable.

        The id alone does not: up to version 20.10 all engines of a machine have the same.
        """
        with translated(self.url):
            info = self.api.info()
        return f"{info.get('ID')} {info.get('DockerRootDir')}"

    @cached_property
    def _podman(self) -> bool:
        """Whether it is Podman behind its Docker-compatible socket, which leaves out what it does not know."""
        try:
            with translated(self.url):
                parts = self.api.version().get("Components") or ()
        except RuntimeUnreachable:  # the first call that needs the engine says so
            return False
        return any(part.get("Name") == "Podman Engine" for part in parts)

    @cached_property
    def _cores(self) -> int:
        with translated(self.url):
            return int(self.api.info()["NCPU"])

    def capabilities(self) -> Capabilities:
        podman = self._podman
        return Capabilities(
            driver="podman" if podman else "docker",
            fractional_cpu=True,
            gpus=not podman,
            images=True,
            live_limits=not podman,
            adopts=self._adoptions.path is not None,
        )

    def close(self) -> None:
        """Give the connections back."""
        if "api" in self.__dict__:
            self.api.close()

    # look

    def list(self) -> tuple[ObservedReplica, ...]:
        labels = [f"{MANAGED_BY}=nexusctl", f"{PREFIX}instance={self.instance}"]
        with translated(self.url):
            rows = self.api.containers(all=True, filters={"label": labels})
        with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
            seen = pool.map(lambda row: self._details.of(row, self._read), rows)
            ours = [replica for replica in seen if replica is not None and replica.owner is not None]
        self._details.keep_only(row["Id"] for row in rows)
        adopted = (self.inspect(name) for name in self._adoptions.all())
        ours += [one for one in adopted if one is not None and one.owner is not None]
        return tuple(sorted(ours, key=lambda replica: replica.name))

    def inspect(self, name: str) -> ObservedReplica | None:
        found = self._read(name)
        return found if found is not None and found.name == name else None  # the engine also finds by prefixes of ids

    def candidate(self, name: str) -> Candidate | None:
        found = self._inspect(name)
        if found is None or found["Name"] != f"/{name}":
            return None
        image, named = self._image_facts(found["Image"]), self._image_facts(found["Config"]["Image"]) or {}
        told = candidate(found, image, str(named.get("Id", "")))
        return replace(told, replica=self._adoptions.owned(told.replica) or told.replica)

    def forgotten(self) -> tuple[Forgotten, ...]:
        """Processes on this machine of containers that the engine does not know (any more)."""
        with translated(self.url):
            known = {row["Id"] for row in self.api.containers(all=True)}
        return forgotten(known)

    # act

    def create(self, replica: Replica) -> None:
        launch = replica.launch
        if not launch.image:
            raise Terminal(f"{replica.name}: no container image is given", hint="name one in engine.<engine>.image")
        if words := self._too_many_cores(launch.limits):
            raise Terminal(f"{replica.name}: {words}")
        if launch.gpus and self._podman:
            raise Terminal(f"{replica.name}: Podman's Docker-compatible socket would leave out the GPUs")
        if missing := next((one.source for one in launch.mounts if not Path(one.source).exists()), ""):
            raise Terminal(f"{replica.name}: {missing} is not on this machine")
        image = image_facts(self.api, launch.image)
        with translated(replica.name), networks.network_of(self.api, _stack(replica.owner)) as network_id:
            config = container_config(replica, image, network_id)
            if launch.secret_env:
                config = with_secret_mount(config, str(self._secrets.folder(replica.name)))
            made = self.api.create_container_from_config(config, name=replica.name)
            if fault := self._missing_program(made["Id"], replica, image):
                self.api.remove_container(made["Id"])
                raise fault

    def start(self, name: str, secrets: Mapping[str, str]) -> None:
        found = self._known(name)
        if found["State"]["Running"]:
            return
        names = [word for word in (found["Config"].get("Labels") or {}).get(SECRET_NAMES, "").split(",") if word]
        if missing := [word for word in names if word not in secrets]:
            raise Refused(f"{name}: no value for the secret {', '.join(missing)}")
        if names:
            self._secrets.write(name, {word: secrets[word] for word in names})
        try:
            with translated(name):
                self.api.start(found["Id"])
        except Exception:
            self._secrets.forget(name)
            raise
        finally:
            self._details.forget(found["Id"])

    def stop(self, name: str, grace_seconds: float) -> None:
        found = self._known(name)
        if self._podman:  # which refuses to end what is paused
            self.resume(name)
        with translated(name):
            self.api.stop(found["Id"], timeout=math.ceil(grace_seconds))
        self._secrets.forget(name)
        self._details.forget(found["Id"])

    def resume(self, name: str) -> None:
        found = self._known(name)
        if observed_replica(found).paused:
            with translated(name):
                self.api.unpause(found["Id"])
            self._details.forget(found["Id"])

    def remove(self, name: str) -> None:
        found = self._known(name)
        if found["State"]["Running"]:  # Podman's own refusal takes the container off its network first
            raise Refused(f"{name}: it runs; stop it first")
        owner = Ownership.from_labels(found["Config"].get("Labels") or {})
        with translated(name), networks.leaving(self.api, _stack(owner), found["Id"]) if owner else nullcontext():
            try:
                self.api.remove_container(found["Id"], v=owner is not None)
            except APIError as error:
                if "is already in progress" not in str(error):
                    raise
                self._await_removal(found["Id"], name)
            self._secrets.remove(name)
        self._adoptions.drop(name)

    def sweep(self, set_name: str) -> None:
        with translated(set_name):
            networks.sweep(self.api, (self.instance, set_name))

    def adopt(self, name: str, runtime_id: str, owner: Ownership) -> None:
        if self._adoptions.path is None:
            raise Refused(f"{name}: this runtime has nowhere to record what it adopts")
        found = self.inspect(name)
        if found is None or found.runtime_id != runtime_id:
            raise NotFound(f"there is no container {name} of the id {runtime_id[:12]} any more")
        if found.owner is not None and not found.owner.same_make(owner):
            raise Refused(f"{name} belongs to {found.owner.kind}/{found.owner.name} of the stack {found.owner.set}")
        if found.owner is None:
            self._adoptions.put(name, runtime_id, owner)

    def update(self, name: str, limits: Limits) -> None:
        found = self._known(name)
        if words := self._too_many_cores(limits):
            raise Refused(f"{name}: {words}")
        if self._podman:
            raise Refused(f"{name}: Podman's Docker-compatible socket cannot change limits of a container that runs")
        fields = limit_fields(limits)
        try:
            with translated(name):
                self.api.update_container(
                    found["Id"],
                    cpu_period=fields["CpuPeriod"],
                    cpu_quota=fields["CpuQuota"],
                    mem_limit=fields["Memory"],
                    memswap_limit=fields["MemorySwap"],
                )
        except (Terminal, Retryable) as error:
            raise Refused(error.detail, hint=error.hint) from error
        self._details.forget(found["Id"])
        now = observed_replica(self._known(name)).limits
        if now != limits:
            raise Refused(f"{name}: the engine keeps {now} where {limits} was set")

    # listen

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        found = self._known(name)
        if tail == 0 and not follow:
            return
        if tail is not None and not follow and self._podman:  # its own tail joins lines that its buffer had cut
            yield from deque(self.logs(name), maxlen=tail)
            return
        rest = b""
        with translated(name):
            chunks = self.api.logs(
                found["Id"],
                stream=True,
                follow=follow and found["State"]["Running"],
                tail="all" if tail is None else tail,
            )
            for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
        if rest:
            yield rest.decode(errors="replace")

    def progress(self, name: str) -> str:
        found = self._known(name)
        lines = COARSE_LINES if self._podman else 1
        with translated(name):
            last: bytes = self.api.logs(found["Id"], tail=lines, timestamps=True)
        return " ".join(line.partition(b" ")[0].decode() for line in last.splitlines())

    # images

    def image(self, image: str) -> LocalImage | None:
        """The image as it is on this machine; None when it is not."""
        found = images.observed_image(self.api, image)
        return images.by_podmans_digest(self.api, image, found) if found is not None and self._podman else found

    def offered_digest(self, image: str, login: Credentials | None = None) -> str:
        """The digest that a pull would bring now. Raises Terminal (no such image, no access) or Retryable."""
        ask = offers.podmans_digest if self._podman else offers.offered_digest
        return ask(self.api, image, login)

    def pull_size(self, image: str, digest: str, login: Credentials | None = None) -> PullSize:
        """What a pull of the offered digest would download and take; a silent registry makes the bytes unknown."""
        return offers.pull_size(self.api, image, digest, login)

    def pull(self, image: str, login: Credentials | None, progress: ProgressSink, *, digest: str = "") -> LocalImage:
        """Bring the image here. Raises Terminal (no such image, no access) or Retryable."""
        images.pull(self.api, image, login, progress, digest=digest)
        found = self.image(image)
        if found is None:
            raise Terminal(f"{image} was pulled and is not there")
        return found

    def programs(self) -> ContainerPrograms | None:
        """What runs programs out of images; None on Podman, where runs that remove themselves were never tried."""
        return None if self._podman else DockerPrograms(self.api, self.instance)

    def watch(self, silence_seconds: float = SILENCE_SECONDS) -> Watch:
        """What happens to this install's containers from now on; survives restarts of the engine."""

        def open_feed(since_ns: int) -> Feed:
            self._details.forget()
            return events.DockerFeed(
                self.address, self.instance, since_ns, self._details.forget, self._adoptions.is_recorded
            )

        return Watch(open_feed, self.answers, clock=self._clock, silence_seconds=silence_seconds)

    def answers(self) -> bool:
        """Whether the engine answers, and soon."""
        return connection.answers(self.address)

    # inner workings

    def _read(self, key: str) -> ObservedReplica | None:
        found = self._inspect(key)
        return self._adoptions.owned(observed_replica(found)) if found is not None else None

    def _inspect(self, key: str) -> dict[str, Any] | None:
        with translated(key):
            try:
                found: dict[str, Any] = self.api.inspect_container(key)
            except Missing:
                return None
        return found

    def _known(self, name: str) -> dict[str, Any]:
        found = self._inspect(name)
        if found is None or found["Name"] != f"/{name}":
            raise NotFound(f"there is no container {name}")
        if self._adoptions.is_another(observed_replica(found)):
            raise NotFound(f"the container {name} that was taken over is gone; another bears its name now")
        return found

    def _image_facts(self, image: str) -> dict[str, Any] | None:
        with translated(image):
            try:
                found: dict[str, Any] = self.api.inspect_image(image)
            except ImageNotFound:
                return None
        return found

    def _too_many_cores(self, limits: Limits) -> str:
        """The engine accepts a quota beyond the machine, which would be no limit."""
        asked = limits.cpu_cores
        return f"{asked:g} cores asked, {self._cores} there" if asked is not None and asked > self._cores else ""

    def _missing_program(self, container_id: str, replica: Replica, image: ImageFacts) -> Terminal | None:
        """Why what would run is not in the image. Asked before the start, which is too late for a replacement."""
        launch = replica.launch
        first = program(launch.argv, image)[0]
        if first not in image.entrypoint[:1] and not self._has(container_id, first, image.path):
            return Terminal(f"{replica.name}: there is no program {first!r} in {launch.image}")
        if launch.secret_env and not self._has(container_id, SHELL, ()):
            return Terminal(
                f"{replica.name}: {launch.image} has no {SHELL}, by which {', '.join(sorted(launch.secret_env))} "
                "would reach the engine as a secret",
                hint="use an image with a shell, or mount a file the engine reads the secret from",
            )
        return None

    def _has(self, container_id: str, word: str, path: Sequence[str]) -> bool:
        places = [word] if "/" in word else [f"{folder}/{word}" for folder in path]
        address = f"{self.api.base_url}/v{self.api.api_version}/containers/{container_id}/archive"
        return any(
            self.api.head(address, params={"path": place}, timeout=connection.TIMEOUT_SECONDS).ok for place in places
        )

    def _await_removal(self, container_id: str, name: str) -> None:
        """Somebody else's removal is under way: wait until it is done."""
        deadline = time.monotonic() + REMOVAL_SECONDS
        while self._inspect(container_id) is not None:
            if time.monotonic() > deadline:
                raise Retryable(f"{name}: the engine is still removing it")
            time.sleep(POLL_SECONDS)


def _stack(owner: Ownership) -> networks.StackId:
    return owner.instance, owner.set

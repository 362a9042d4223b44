"""Programs out of images, each run once to its end in a container of its own: `ContainerPrograms` on the Docker engine.

Called by builds through the composition root. The rules: nothing is pulled; the container has no network, no
capability, a read-only root and one folder to write to; its labels tell it from replicas, so that no list, event or
prune takes it for one. It removes itself when it ends, so what a killed nexusctl leaves goes with its last word; the
next run of the same work, which bears the same name, ends it at once.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from nexus_ctl.errors import NameInUse, Retryable
from nexus_ctl.resources.one_shot import HostedImage, OneShot
from nexus_ctl.resources.ownership import MANAGED_BY, PREFIX
from nexus_ctl.runtimes.docker.connection import TIMEOUT_SECONDS
from nexus_ctl.runtimes.docker.container import TMPFS
from nexus_ctl.runtimes.docker.errors import translated
from nexus_ctl.runtimes.docker.images import image_facts

if TYPE_CHECKING:
    from docker import APIClient

BUILDER = PREFIX + "builder"
"""Label with the install that builds; replicas have `instance` instead."""
LOOK_SECONDS = 0.1
PIDS = 4096
CPU_SHARES = 128
"""An eighth of what a container gets that says nothing: a build gives way to what serves."""
LAST_WORDS_BYTES = 4096
KILLED = 137
ATTEMPTS = 3
GO_FOLDER, GO_LINK = 1 << 31, 1 << 27
"""Bits of a mode as the engine writes it. Source: Go, io/fs, FileMode."""


@dataclass(frozen=True)
class DockerPrograms:
    """Programs of the images of one engine."""

    api: APIClient
    instance: str

    def hosted(self, image: str) -> HostedImage | None:
        """See `ContainerPrograms`."""
        with translated(image):
            try:
                found = self.api.inspect_image(image)
            except ImageNotFound:
                return None
        digests = [word.partition("@")[2] for word in found.get("RepoDigests") or ()]
        return HostedImage(image, found["Id"], digests[0] if digests else found["Id"])

    def program(self, image_id: str, name: str) -> str:
        """See `ContainerPrograms`. A container is made of the image and never started: the engine tells its files."""
        facts = image_facts(self.api, image_id)
        beside = [os.path.dirname(word) for word in facts.entrypoint[:1] if word.startswith("/")]
        places = [f"{folder.rstrip('/')}/{name}" for folder in dict.fromkeys((*beside, *facts.path)) if folder]
        label = f"nexusctl-look-{image_id.rpartition(':')[2][:24]}"
        config = {"Image": image_id, "Entrypoint": [name], "Labels": self._labels("look"), "NetworkDisabled": True}
        for _ in range(ATTEMPTS):
            with self._made(label, config) as container_id:
                found = next((place for place in places if self._is_program(container_id, place)), "")
                if found or self._is_there(container_id):
                    return found
        raise busy(label)

    def run(self, job: OneShot, tick: Callable[[], None]) -> str:
        """See `ContainerPrograms`."""
        with self._made(job.name, self._config(job)) as container_id:
            ending = _Ending()
            with translated(job.argv[0]):
                said, end = self.api.attach(container_id, stream=True), self._end_of(container_id)
                threads = [
                    threading.Thread(target=ending.hear, args=(said,), daemon=True),
                    threading.Thread(target=ending.wait, args=(end,), daemon=True),
                ]
                for thread in threads:
                    thread.start()
                self.api.start(container_id)
            while any(thread.is_alive() for thread in threads):
                threads[-1].join(LOOK_SECONDS)
                tick()
        return ending.words(job)

    def _config(self, job: OneShot) -> dict[str, Any]:
        folder, inside = job.writes
        reads = [_bind(source, target, read_only=True) for target, source in job.reads.items()]
        return {
            "Image": job.image_id,
            "Entrypoint": [job.argv[0]],
            "Cmd": list(job.argv[1:]),
            "User": "0:0" if self._is_rootless() else f"{os.getuid()}:{os.getgid()}",
            "Labels": self._labels("build"),
            "NetworkDisabled": True,
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "AutoRemove": True,
                "NetworkMode": "none",
                "Mounts": [*reads, _bind(folder, inside, read_only=False)],
                "Init": True,
                "ReadonlyRootfs": True,
                "Tmpfs": {"/tmp": TMPFS},
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "PidsLimit": PIDS,
                "Memory": job.memory_bytes,
                "MemorySwap": job.memory_bytes,
                "NanoCpus": job.cores * 10**9,
                "CpuShares": CPU_SHARES,
                "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
                "RestartPolicy": {"Name": "no"},
                "LogConfig": {"Type": "none"},
            },
        }

    def _labels(self, purpose: str) -> dict[str, str]:
        return {MANAGED_BY: "nexusctl", BUILDER: self.instance, PREFIX + "purpose": purpose}

    def _is_rootless(self) -> bool:
        """Whether root inside is this user outside, as a rootless engine has it."""
        return any("rootless" in option for option in self.api.info().get("SecurityOptions") or ())

    @contextmanager
    def _made(self, name: str, config: Mapping[str, Any]) -> Iterator[str]:
        """A container of that name, its id; gone afterwards. One that bears it already is what a killed run left."""
        with translated(name):
            container_id = self._create(name, config)
        try:
            yield container_id
        finally:
            self._remove(container_id)

    def _create(self, name: str, config: Mapping[str, Any]) -> str:
        for _ in range(ATTEMPTS):
            try:
                with translated(name):
                    return str(self.api.create_container_from_config(config, name=name)["Id"])
            except NameInUse:
                if not self._is_build(name):
                    raise
                self._remove(name)
        raise busy(name)

    def _is_build(self, name: str) -> bool:
        """Whether what bears the name is a run of nexusctl's, of whatever install, or gone by now. Else it is nobody's
        to touch."""
        with translated(name):
            try:
                labels = self.api.inspect_container(name)["Config"]["Labels"] or {}
            except NotFound:
                return True
        return BUILDER in labels

    def _remove(self, container_id: str) -> None:
        """Kill and remove it. Gone, or about to be: done."""
        with translated(container_id):
            try:
                self.api.remove_container(container_id, v=True, force=True)
            except NotFound:
                return
            except APIError as error:
                if "is already in progress" not in str(error):
                    raise

    def _is_program(self, container_id: str, place: str) -> bool:
        """Whether something lies there that can be run: a link, or a file with a bit for it."""
        address = f"{self._address(container_id)}/archive"
        with translated(place):
            answer = self.api.head(address, params={"path": place}, timeout=TIMEOUT_SECONDS)
        if not answer.ok:
            return False
        mode = int(json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))["mode"])
        return bool(mode & GO_LINK) or bool(mode & 0o111 and not mode & GO_FOLDER)

    def _is_there(self, container_id: str) -> bool:
        with translated(container_id):
            try:
                self.api.inspect_container(container_id)
            except NotFound:
                return False
        return True

    def _end_of(self, container_id: str) -> requests.Response:
        """The engine's answer to waiting for the end; from here on the end is not missed."""
        params = {"condition": "next-exit"}
        address = f"{self._address(container_id)}/wait"
        answer = self.api.post(address, params=params, stream=True, timeout=(TIMEOUT_SECONDS, None))
        answer.raise_for_status()
        return answer

    def _address(self, container_id: str) -> str:
        return f"{self.api.base_url}/v{self.api.api_version}/containers/{container_id}"


def busy(name: str) -> Retryable:
    """Somebody makes and removes the same container as fast as we do."""
    return Retryable(f"{name}: another nexusctl makes and removes it at this moment", hint="try again")


class _Ending:
    """What a program said last and how it ended, gathered while it runs."""

    def __init__(self) -> None:
        self._said: deque[bytes] = deque()
        self._code: int | None = None

    def hear(self, stream: Iterator[bytes]) -> None:
        """To the end of its output, of which the last is kept."""
        with suppress(DockerException, OSError):
            for chunk in stream:
                self._said.append(chunk)
                while sum(map(len, self._said)) - len(self._said[0]) > LAST_WORDS_BYTES:
                    self._said.popleft()

    def wait(self, answer: requests.Response) -> None:
        """To its end, unless the engine ends first."""
        with suppress(OSError, ValueError, KeyError), answer:
            self._code = int(answer.json()["StatusCode"])

    def words(self, job: OneShot) -> str:
        """ "" when it succeeded, else how it ended. Raises Retryable when nobody saw it end."""
        if self._code is None:
            raise Retryable(f"{job.argv[0]}: the container engine went away while it ran", hint="nexusctl apply")
        if self._code == 0:
            return ""
        last = b"".join(self._said)[-LAST_WORDS_BYTES:].decode(errors="replace").strip().splitlines()[-2:]
        killed = [f"killed; it may take {job.memory_bytes} bytes of memory"] if self._code == KILLED else []
        return "; ".join([f"it ended with {self._code}", *killed, *last])


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}

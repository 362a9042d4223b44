"""The Docker runtime keeps the runtime contract, with real containers on a private engine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

import docker
import pytest

from nexus_ctl.runtimes.adoptions import Adoptions
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from nexus_ctl.runtimes.probe import HttpProber
from tests.contracts.runtime_suite import RuntimeCase, RuntimeContract
from tests.fixtures.private_engine import Engine

pytestmark = pytest.mark.docker


@pytest.fixture
def case(engine: Engine, docker_api: docker.APIClient, tiny_image: str, tmp_path: Path) -> Iterator[RuntimeCase]:
    instance = f"i{uuid4().hex[:10]}"
    opened: list[DockerRuntime] = []

    def reopen() -> DockerRuntime:
        opened.append(DockerRuntime(instance, engine.url, adoptions=Adoptions(tmp_path / "adopted.json")))
        return opened[-1]

    def make_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text + "\n", encoding="utf-8")
        return str(path)

    def put_foreign(name: str) -> None:
        made = docker_api.create_container(tiny_image, ["serve", "0.0.0.0", "80"], name=name)
        docker_api.start(made["Id"])

    def put_serving(name: str, file: str) -> None:
        host = docker_api.create_host_config(
            binds={file: {"bind": "/models/m.gguf", "mode": "ro"}}, port_bindings={8080: None}
        )
        words = ["show", "/models/m.gguf", "serve", "0.0.0.0", "8080"]
        made = docker_api.create_container(tiny_image, words, name=name, host_config=host, ports=[8080])
        docker_api.start(made["Id"])

    def get(address: str, path: str) -> str:
        with urlopen(address + path, timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    def written() -> Iterable[bytes]:
        for row in docker_api.containers(all=True):
            yield json.dumps(docker_api.inspect_container(row["Id"])).encode()
        records = engine.run_dir / "state/data/containers"
        yield from (path.read_bytes() for path in records.rglob("*") if path.is_file())

    yield RuntimeCase(
        runtime=reopen(),
        prober=HttpProber(),
        instance=instance,
        get=get,
        put_foreign=put_foreign,
        put_serving=put_serving,
        forget=lambda name: docker_api.remove_container(name, force=True),
        kill=docker_api.kill,
        pause=docker_api.pause,
        make_file=make_file,
        written=written,
        reopen=reopen,
        image=tiny_image,
        tells_out_of_memory=os.environ.get("ENGINE_KIND") != "podman",
    )
    for row in docker_api.containers(all=True):
        docker_api.remove_container(row["Id"], force=True)
    docker_api.prune_networks()
    for runtime in opened:
        runtime.close()


class TestDockerRuntime(RuntimeContract):
    """The contract."""

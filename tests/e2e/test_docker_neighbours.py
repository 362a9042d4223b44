"""Several stacks and installs on one engine, and containers that somebody else started: nobody touches the others'."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import docker
import pytest
import yaml

from tests.e2e.conftest import eventually, free_port, keeping
from tests.fixtures.mortal import MOMENTS, Mortal
from tests.fixtures.private_engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.e2e]

FILES = ("-f", "nexus.yaml", "-f", "imported.yaml")
ADOPT = ("apply", "--yes", "--adopt=if-unowned", *FILES)
KILLED = -9


class Install:
    """A state directory of its own on the shared engine."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        folder.mkdir()
        self.folder = folder
        (folder / "model.bin").write_bytes(b"weights\n")
        self.environ = {"DOCKER_HOST": engine.url, "HOME": str(folder)}
        self.mortal = Mortal(folder, self.environ)

    def declare(
        self, stack: str, *documents: tuple[str, str, dict[str, Any]], file: str = "nexus.yaml", port: int = 0
    ) -> None:
        settings: dict[str, Any] = {
            "runtime": {"driver": "docker", "pullPolicy": "Never"},
            "modelCache": {"path": "cache"},
        }
        settings |= {"gateway": {"listen": f"127.0.0.1:{port}"}} if port else {}
        texts = [
            {"apiVersion": "nexus/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
            for kind, name, spec in (("Stack", stack, settings), *documents)
        ]
        (self.folder / file).write_text(yaml.safe_dump_all(texts))

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        program = str(Path(sys.executable).with_name("nexusctl"))
        environ = {**os.environ, **self.environ}
        return subprocess.Popen([program, *words], cwd=self.folder, env=environ, stderr=subprocess.PIPE, text=True)

    def run(self, *words: str, code: int = 0) -> str:
        assert self.mortal.run(*words) == code, self.mortal.output
        return self.mortal.output


@pytest.fixture
def installs(engine: Engine, docker_api: docker.APIClient, tmp_path: Path) -> Iterator[tuple[Install, ...]]:
    made = tuple(Install(tmp_path / name, engine) for name in ("one", "two", "three"))
    yield made
    for install in made:
        install.mortal.close()
    for row in docker_api.containers(all=True):
        docker_api.remove_container(row["Id"], force=True)
    docker_api.prune_networks()


def serving(image: str, generation: int = 1) -> tuple[tuple[str, str, dict[str, Any]], ...]:
    engine = {"custom": {"image": image, "command": ["tiny", "serve", "{host}", "{port}"]}}
    chat = {
        "model": "smol",
        "engine": engine,
        "env": {"GENERATION": {"value": str(generation)}},
        "probe": {"path": "/", "interval": "20ms"},
    }
    return ("Model", "smol", {"source": {"path": "model.bin"}}), ("Deployment", "chat", chat)


def again(before: dict[str, str], now: dict[str, str]) -> bool:
    """Whether as many containers run, each by another start."""
    return len(before) == len(now) and not before.items() & now.items()


ROUTE = ("Route", "chat", {"backends": [{"deployment": "chat"}]})
PRESET = ("Preset", "calm", {"sampling": {"temperature": 0.2}})


def served(port: int) -> list[str]:
    """The model names that the gateway at a port tells."""
    with urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=30) as answer:
        return [model["id"] for model in json.load(answer)["data"]]


def lives(api: docker.APIClient) -> dict[str, str]:
    """When each container that runs was started, by id."""
    return {row["Id"]: api.inspect_container(row["Id"])["State"]["StartedAt"] for row in api.containers()}


def test_stacks_and_installs_with_the_same_names_never_touch_each_other(
    installs: tuple[Install, ...], docker_api: docker.APIClient, tiny_image: str
) -> None:
    grounds = tuple(zip(installs, ("demo", "demo", "other"), strict=True))
    owned: list[set[str]] = []
    for install, stack in grounds:
        install.declare(stack, *serving(tiny_image))
        before = set(lives(docker_api))
        install.run("apply", "--yes")
        owned.append(set(lives(docker_api)) - before)
    assert [len(ids) for ids in owned] == [1, 1, 1]
    assert len(docker_api.networks(filters={"label": "nexusctl/managed-by=nexusctl"})) == 3
    for at, (install, stack) in enumerate(grounds):
        others = {key: life for key, life in lives(docker_api).items() if key not in owned[at]}
        install.declare(stack, *serving(tiny_image, 2))
        install.run("apply", "--yes", "--prune")
        now = lives(docker_api)
        assert others.items() <= now.items()
        assert not owned[at] & now.keys()
        owned[at] = now.keys() - others.keys()
        for neighbour in installs:
            neighbour.run("plan", "--detailed-exitcode")
    for at, install in enumerate(installs):
        others = {key: life for key, life in lives(docker_api).items() if key not in owned[at]}
        install.run("delete", "--yes", "-f", "nexus.yaml")
        assert lives(docker_api) == others
    assert docker_api.networks(filters={"label": "nexusctl/managed-by=nexusctl"}) == []


def test_stacks_of_one_folder_keep_to_themselves(
    installs: tuple[Install, ...], docker_api: docker.APIClient, tiny_image: str
) -> None:
    """The same names in both, each with its gateway, routes and lock; none prunes, heals or deletes the other's."""
    install, ports = installs[0], (free_port(), free_port())
    files = {"demo": "nexus.yaml", "other": "other.yaml"}
    for (stack, file), port in zip(files.items(), ports, strict=True):
        install.declare(stack, *serving(tiny_image), PRESET, ROUTE, file=file, port=port)
        install.run("apply", "--yes", "--prune", "-f", file)
        install.run("models", "lock", "-f", file)
    assert {path.name for path in install.folder.glob("*.lock")} == {"nexus.lock", "other.lock"}
    for _ in range(2):
        for file in files.values():
            install.run("plan", "--detailed-exitcode", "-f", file)
        assert [served(port) for port in ports] == [["chat"], ["chat"]]
        before = lives(docker_api)
        install.declare("other", *serving(tiny_image, 2), ROUTE, file="other.yaml", port=ports[1])
        install.run("apply", "--yes", "--prune", "-f", "other.yaml")
        assert len(before.items() & lives(docker_api).items()) >= 1
    kept = lives(docker_api)
    install.run("delete", "--yes", "-f", "other.yaml")
    assert lives(docker_api).items() < kept.items()
    assert served(ports[0]) == ["chat"]
    install.run("plan", "--detailed-exitcode")
    install.declare("other", *serving(tiny_image), ROUTE, file="other.yaml", port=ports[0])
    told = install.run("apply", "--yes", "-f", "other.yaml", code=4)
    assert f"the gateway of the stack demo listens on 127.0.0.1:{ports[0]}" in told
    assert served(ports[0]) == ["chat"]
    install.run("delete", "--yes", "-f", "nexus.yaml")
    install.run("apply", "--yes", "-f", "other.yaml")
    assert served(ports[0]) == ["chat"]
    install.run("delete", "--yes", "-f", "other.yaml")


def test_each_stack_of_a_folder_has_its_daemon_and_commands_take_turns_with_both(
    installs: tuple[Install, ...], docker_api: docker.APIClient, tiny_image: str
) -> None:
    install = installs[0]
    files = {"demo": "nexus.yaml", "other": "other.yaml"}
    with ExitStack() as stack:
        for name, file in files.items():
            install.declare(name, *serving(tiny_image), file=file)
            install.run("apply", "--yes", "-f", file)
        for name, file in files.items():
            stack.enter_context(keeping(name, install.popen("serve", "-f", file, "--resync", "2s")))
        before = lives(docker_api)
        for id_ in before:
            docker_api.kill(id_)
        eventually(lambda: again(before, lives(docker_api)), "both run again")
        for file in files.values():
            install.run("apply", "--yes", "-f", file)
        busy = install.run("serve", code=7)
        assert "nexusctl serve" in busy


def test_a_network_is_not_left_behind_by_containers_that_went_by_themselves(
    installs: tuple[Install, ...], docker_api: docker.APIClient, tiny_image: str
) -> None:
    install, ours = installs[0], {"label": "nexusctl/managed-by=nexusctl"}
    install.declare("demo", *serving(tiny_image))
    for guest in (False, True):
        install.run("apply", "--yes")
        [row] = docker_api.containers()
        docker_api.remove_container(row["Id"], force=True)
        [network] = docker_api.networks(filters=ours)
        if guest:
            theirs = docker_api.create_container(tiny_image, ["serve", "0.0.0.0", "80"])
            docker_api.connect_container_to_network(theirs, network["Id"])
            docker_api.start(theirs)
        install.run("delete", "--yes", "-f", "nexus.yaml")
        assert [one["Id"] for one in docker_api.networks(filters=ours)] == ([network["Id"]] if guest else [])


def test_containers_that_somebody_took_out_of_their_network_are_made_anew(
    installs: tuple[Install, ...], docker_api: docker.APIClient, tiny_image: str
) -> None:
    """They run, their ports are published no more, and the network itself is gone: nothing would bring them back."""
    install = installs[0]
    install.declare("demo", *serving(tiny_image))
    install.run("apply", "--yes")
    [row] = docker_api.containers()
    [network] = docker_api.networks(filters={"label": "nexusctl/managed-by=nexusctl"})
    docker_api.disconnect_container_from_network(row["Id"], network["Id"], force=True)
    docker_api.remove_network(network["Id"])
    assert "running -> out of reach: no port of it is published" in install.run("plan")
    before = lives(docker_api)
    install.run("apply", "--yes")
    assert again(before, lives(docker_api))
    assert "All well." in install.run("status")
    install.run("plan", "--detailed-exitcode")


def test_a_container_of_another_install_or_stack_is_not_taken_over(
    installs: tuple[Install, ...], docker_api: docker.APIClient, tiny_image: str
) -> None:
    one, two, _ = installs
    one.declare("demo", *serving(tiny_image))
    one.run("apply", "--yes")
    [row] = docker_api.containers()
    before = lives(docker_api)
    model, (kind, name, chat) = serving(tiny_image)
    for install, stack, file in ((two, "demo", "nexus.yaml"), (one, "other", "other.yaml")):
        install.declare(stack, model, (kind, name, chat), file=file)
        documents = list(yaml.safe_load_all((install.folder / file).read_text()))
        documents[-1]["metadata"]["annotations"] = {"nexusctl/adopt": row["Names"][0].lstrip("/")}
        (install.folder / file).write_text(yaml.safe_dump_all(documents))
        told = install.run("apply", "--yes", "--adopt=if-unowned", "-f", file, code=4)
        assert "belongs to Deployment/chat of the stack demo" in told
        assert lives(docker_api) == before


def test_killed_at_every_effect_of_a_take_over_the_next_finishes_and_nothing_is_touched(
    installs: tuple[Install, ...], docker_api: docker.APIClient, tiny_image: str
) -> None:
    install, mortal = installs[0], installs[0].mortal
    binds = {str(install.folder / "model.bin"): {"bind": "/m", "mode": "ro"}}
    host = docker_api.create_host_config(
        binds=binds, port_bindings={8080: None}, restart_policy={"Name": "unless-stopped"}
    )
    words = ["show", "/m", "serve", "0.0.0.0", "8080"]
    docker_api.start(docker_api.create_container(tiny_image, words, host_config=host, name="theirs", ports=[8080]))
    before = lives(docker_api)
    install.declare("demo", ("Preset", "anchor", {"sampling": {"temperature": 0.5}}))
    documents = list(yaml.safe_load_all(install.run("import", "docker/theirs").partition("left out:")[0]))
    documents[-1]["spec"] |= {"probe": {"path": "/", "interval": "20ms"}}
    (install.folder / "imported.yaml").write_text(yaml.safe_dump_all(documents))
    plan = install.run("plan", "--adopt=if-unowned", *FILES)
    assert "until then: its port 0.0.0.0:(any) -> 8080/tcp" in plan
    assert "until then: its restart policy unless-stopped: nexusctl heals" in plan
    assert "theirs goes on beside it" in install.run("plan", *FILES)
    for moment in MOMENTS:
        struck: list[str] = []
        while mortal.run(*ADOPT, at=len(struck) + 1, moment=moment) == KILLED:
            struck.append(mortal.effects[-1])
            install.run(*ADOPT)
            assert lives(docker_api) == before
            install.run("plan", "--detailed-exitcode", *FILES)
            shutil.rmtree(install.folder / ".nexus")  # to a new install it is a stranger again
        assert "runtime.adopt" in struck
        assert lives(docker_api) == before
        if moment != MOMENTS[-1]:
            shutil.rmtree(install.folder / ".nexus")
    install.run("delete", "--yes", *FILES)
    assert docker_api.containers(all=True) == []

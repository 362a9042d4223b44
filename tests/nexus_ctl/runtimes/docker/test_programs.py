"""Programs out of images on a real engine: found without running anything, confined, ended with whoever wanted them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from nexus_ctl.errors import Interrupted, NameInUse
from nexus_ctl.resources.one_shot import OneShot
from nexus_ctl.runtimes.docker.programs import DockerPrograms

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("sockets_left_by_the_sdk")]

MIB = 1 << 20


@pytest.fixture
def programs(docker_api: docker.APIClient) -> Iterator[DockerPrograms]:
    """Those of the private engine; no test leaves a container."""
    found = DockerPrograms(docker_api, "0123456789abcdef")
    yield found
    assert builders(docker_api) == []


def builders(api: docker.APIClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.containers(all=True, filters={"label": "nexusctl/builder"})
    return found


def job(programs: DockerPrograms, image: str, folder: Path, script: str, **more: Any) -> OneShot:
    """A shell script, with a file to read and a folder to write to."""
    hosted = programs.hosted(image)
    assert hosted is not None
    (folder / "in").write_text("read me\n")
    out = folder / "out"
    out.mkdir(exist_ok=True)
    plain = OneShot(
        name=f"nexusctl-build-{folder.name[:40]}",
        image_id=hosted.image_id,
        argv=("/bin/sh", "-c", script),
        reads={"/in/file": str(folder / "in")},
        writes=(str(out), "/out"),
        memory_bytes=256 * MIB,
        cores=1,
    )
    return replace(plain, **more)


def nothing() -> None:
    """Nobody looks."""


def test_a_program_is_found_beside_the_entry_point_and_on_the_path(programs: DockerPrograms, tiny_image: str) -> None:
    hosted = programs.hosted(tiny_image)
    assert hosted is not None
    assert hosted.digest == hosted.image_id, "one that was never pushed is known by its content"
    assert programs.program(hosted.image_id, "sh") == "/bin/sh"
    assert programs.program(hosted.image_id, "llama-quantize") == ""
    assert programs.hosted("nexus-test/never:1") is None


def test_a_file_that_cannot_be_run_is_no_program(programs: DockerPrograms, llama_full_image: str) -> None:
    hosted = programs.hosted(llama_full_image)
    assert hosted is not None
    assert programs.program(hosted.image_id, "llama-quantize") == "/app/llama-quantize"
    assert programs.program(hosted.image_id, "typing_extensions.py") == ""
    assert programs.program(hosted.image_id, "nexus_ctl") == "", "a folder is none either"


def test_it_reads_what_it_is_given_and_writes_to_one_folder(
    programs: DockerPrograms, tiny_image: str, tmp_path: Path
) -> None:
    script = (
        "cat /in/file > /out/copy; id -u > /out/user; ls /sys/class/net > /out/networks;"
        "touch /here 2>/out/root; touch /in/file 2>/out/in; touch /in/new 2>>/out/in; exit 0"
    )
    assert programs.run(job(programs, tiny_image, tmp_path, script), nothing) == ""
    out = tmp_path / "out"
    assert (out / "copy").read_text() == "read me\n"
    assert (out / "copy").stat().st_uid == os.getuid()
    assert (out / "user").read_text().strip() == str(os.getuid())
    assert (out / "networks").read_text().split() == ["lo"]
    assert "Read-only" in (out / "root").read_text()
    assert (out / "in").read_text().count("Read-only") == 2


def test_it_is_bounded(programs: DockerPrograms, tiny_image: str, tmp_path: Path, docker_api: docker.APIClient) -> None:
    seen: list[dict[str, Any]] = []

    def look() -> None:
        seen.extend(docker_api.inspect_container(one["Id"]) for one in builders(docker_api))
        raise Interrupted("seen enough")

    with pytest.raises(Interrupted):
        programs.run(job(programs, tiny_image, tmp_path, "sleep 300"), look)
    host = seen[0]["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (256 * MIB, 256 * MIB, 10**9)
    assert (host["PidsLimit"], host["CapDrop"], host["NetworkMode"]) == (4096, ["ALL"], "none")
    assert (host["ReadonlyRootfs"], host["AutoRemove"]) == (True, True)
    assert "nexusctl/instance" not in seen[0]["Config"]["Labels"], "no list of replicas takes it for one"


def test_what_it_said_last_is_told_when_it_fails(programs: DockerPrograms, tiny_image: str, tmp_path: Path) -> None:
    script = "echo begun >&2; echo cannot do this >&2; exit 3"
    assert programs.run(job(programs, tiny_image, tmp_path, script), nothing) == (
        "it ended with 3; begun; cannot do this"
    )


def test_too_much_memory_is_its_end(programs: DockerPrograms, tiny_image: str, tmp_path: Path) -> None:
    greedy = "x=0123456789abcdef; while true; do x=$x$x; done"
    said = programs.run(job(programs, tiny_image, tmp_path, greedy, memory_bytes=32 * MIB), nothing)
    assert said.startswith("it ended with 137; killed; it may take 33554432 bytes of memory")


def test_a_program_that_is_not_there_fails(programs: DockerPrograms, tiny_image: str, tmp_path: Path) -> None:
    said = programs.run(job(programs, tiny_image, tmp_path, "", argv=("/bin/never",)), nothing)
    assert said.startswith("it ended with 127")
    assert "/bin/never" in said


def test_a_container_of_somebody_else_that_bears_its_name_is_left_alone(
    programs: DockerPrograms, tiny_image: str, tmp_path: Path, docker_api: docker.APIClient
) -> None:
    work = job(programs, tiny_image, tmp_path, "echo done > /out/done")
    theirs = docker_api.create_container(tiny_image, ["serve", "0.0.0.0", "80"], name=work.name)["Id"]
    docker_api.start(theirs)
    with pytest.raises(NameInUse, match=work.name):
        programs.run(work, nothing)
    assert docker_api.inspect_container(theirs)["State"]["Running"]
    docker_api.remove_container(theirs, force=True)


def test_what_a_killed_run_left_is_ended_by_the_next(
    programs: DockerPrograms, tiny_image: str, tmp_path: Path, docker_api: docker.APIClient
) -> None:
    work = job(programs, tiny_image, tmp_path, "echo done > /out/done")
    left = programs._config(replace(work, argv=("/bin/sleep", "300")))
    docker_api.start(docker_api.create_container_from_config(left, name=work.name)["Id"])
    assert len(builders(docker_api)) == 1
    assert programs.run(work, nothing) == ""
    assert (tmp_path / "out" / "done").read_text() == "done\n"

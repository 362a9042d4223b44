"""A container of somebody else is told as it is, or refused with what keeps the gateway or a probe from it."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_ctl.runtimes.docker.candidate import candidate

IMAGE = {"Config": {"Env": [], "Entrypoint": ["/app/llama-server"]}}
OPEN = {"9000/tcp": [{"HostIp": "", "HostPort": "9000"}]}


def a_container(words: str = "-m /models/q.gguf --port 9000", ports: Any = OPEN) -> dict[str, Any]:
    return {
        "Id": "ab" * 32,
        "Name": "/legacy",
        "Image": "sha256:1",
        "Config": {"Image": "llama:1", "Entrypoint": ["/app/llama-server"], "Cmd": words.split(), "Env": []},
        "HostConfig": {"PortBindings": ports, "ReadonlyRootfs": True, "RestartPolicy": {"Name": "always"}},
        "NetworkSettings": {"Ports": {"9000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "9000"}]}},
        "Mounts": [{"Type": "bind", "Source": "/srv", "Destination": "/models"}],
        "State": {
            "Status": "running",
            "Running": True,
            "ExitCode": 0,
            "OOMKilled": False,
            "Error": "",
            "Pid": 7,
            "StartedAt": "2026-11-22T10:00:00Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
        },
    }


def test_what_it_reads_where_it_listens_and_what_no_manifest_says() -> None:
    found = candidate(a_container(), IMAGE, "sha256:2")
    assert found.refused == ""
    assert (found.replica.name, found.replica.owner) == ("legacy", None)
    assert found.replica.address == "http://127.0.0.1:9000", "open to all is reached by loopback"
    assert found.files == {"spec.model": "/srv/q.gguf"}
    assert found.spec["engine"] == {"llamaCpp": {"image": "llama:1"}}
    assert "its restart policy always: nexusctl heals" in found.left_out
    assert found.left_out[-1] == "its image: llama:1 names another one by now"
    assert candidate(a_container(), IMAGE, "sha256:1").left_out == found.left_out[:-1]


@pytest.mark.parametrize(
    ("container", "image", "words"),
    [
        (a_container(ports={}), IMAGE, "it publishes no port"),
        (a_container(ports=None), IMAGE, "it publishes no port"),
        (a_container(ports=OPEN | {"9001/tcp": OPEN["9000/tcp"]}), IMAGE, "it publishes 9000/tcp, 9001/tcp"),
        (a_container("-m /models/q.gguf"), IMAGE, "its engine listens on 8080/tcp, and it publishes 9000/tcp"),
        (a_container("-m /elsewhere/q.gguf"), IMAGE, "no file of this machine"),
        (a_container("-m /models/q.gguf --port 9000 -np 0"), IMAGE, "spec.engine.llamaCpp.parallel"),
        (a_container(), None, "its image sha256:1 is gone"),
    ],
)
def test_what_keeps_it_from_being_taken_over(container: Any, image: Any, words: str) -> None:
    found = candidate(container, image)
    assert words in found.refused
    assert (found.spec, found.files, found.left_out) == ({}, {}, ())

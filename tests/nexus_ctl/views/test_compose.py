"""A Compose file says what the engine is asked to create, in Compose's words, and no secret."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nexus_ctl.engines import table
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import with_files
from nexus_ctl.views.compose import Service, document, text

SERVER = ("/app/llama-server",)
FULL = {
    "replicas": 2,
    "engine": {"llamaCpp": {"contextSize": 4096, "image": "llama:1", "server": {"chatTemplate": "{{ m }} $x ${Y}"}}},
    "env": {
        "GREETING": {"value": "50 $ and ${HOME}"},
        "HF_TOKEN": {"valueFrom": {"env": "MY_TOKEN"}},
        "LICENCE": {"valueFrom": {"file": "/run/licence"}},
        "OTHER": {"valueFrom": {"exec": ["pass", "show", "other"]}},
    },
    "resources": {"cpu": 1.5, "memory": "2Gi", "gpus": {"ids": ["1", "0"], "capabilities": ["gpu", "utility"]}},
    "container": {"user": "1000:1000", "shmSize": "1Gi", "pids": 99, "ulimits": {"memlock": -1}},
    "probe": {"path": "/ok", "timeout": "3s", "healthyDeadline": "5m"},
    "rollout": {"stopDeadline": "90s"},
}


def service(
    name: str = "chat",
    files: tuple[str, ...] = ("/data/m.gguf",),
    entrypoint: tuple[str, ...] | None = SERVER,
    **spec: Any,
) -> Service:
    engine = {"llamaCpp": {"contextSize": 512}}
    parsed = DeploymentSpec.model_validate({"model": "smol", "engine": engine, **spec})
    return Service(name, parsed, with_files(table.launch(parsed), {"smol": files}), entrypoint)


def only(one: Service) -> dict[str, Any]:
    found: dict[str, Any] = document("demo", [one])["services"][one.name]
    return found


def test_the_least_is_closed_and_on_loopback() -> None:
    assert only(service()) == {
        "image": "ghcr.io/ggml-org/llama.cpp:server",
        "entrypoint": ["/app/llama-server"],
        "command": [
            *("--model", "/models/smol.gguf", "--alias", "smol", "--host", "0.0.0.0", "--port", "8080"),
            *("--ctx-size", "512", "--parallel", "1", "--metrics", "--jinja", "--no-webui"),
        ],
        "environment": {"LLAMA_ARG_CORS_ORIGINS": "localhost"},
        "volumes": [
            {
                "type": "bind",
                "source": "/data/m.gguf",
                "target": "/models/smol.gguf",
                "read_only": True,
                "bind": {"create_host_path": False},
            }
        ],
        "init": True,
        "read_only": True,
        "tmpfs": ["/tmp:rw,exec,nosuid,nodev,mode=1777"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": 4096,
        "logging": {"driver": "json-file", "options": {"max-size": "20m", "max-file": "3"}},
        "ports": ["127.0.0.1::8080"],
        "restart": "unless-stopped",
        "stop_grace_period": "10s",
        "healthcheck": {
            "test": ["CMD", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8080/health"],
            "interval": "10s",
            "timeout": "2s",
            "start_period": "10m",
        },
    }


def test_everything_that_a_deployment_may_say() -> None:
    found = only(service(**FULL))
    wanted = {
        "image": "llama:1",
        "user": "1000:1000",
        "cpus": 1.5,
        "mem_limit": 2 << 30,
        "memswap_limit": 2 << 30,
        "shm_size": 1 << 30,
        "pids_limit": 99,
        "ulimits": {"memlock": {"soft": -1, "hard": -1}},
        "stop_grace_period": "1m30s",
        "deploy": {
            "replicas": 2,
            "resources": {
                "reservations": {"devices": [{"device_ids": ["1", "0"], "capabilities": ["gpu", "utility"]}]}
            },
        },
    }
    assert {key: found[key] for key in wanted} == wanted
    assert found["healthcheck"] | {"test": ["..."]} == {
        "test": ["..."], "interval": "10s", "timeout": "3s", "start_period": "5m",
    }  # fmt: skip
    assert found["healthcheck"]["test"][-1] == "http://127.0.0.1:8080/ok"


def test_secrets_are_variables_and_every_other_dollar_is_itself() -> None:
    found = only(service(**FULL))
    assert found["environment"] == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "1,0",
        "GREETING": "50 $$ and $${HOME}",
        "HF_TOKEN": "${MY_TOKEN:?is not set}",
        "LICENCE": "${LICENCE:?is not set}",
        "LLAMA_ARG_CORS_ORIGINS": "localhost",
        "OTHER": "${OTHER:?is not set}",
    }
    assert "{{ m }} $$x $${Y}" in found["command"]
    assert found["entrypoint"] == ["/app/llama-server"], "no shell comes between, as it does for secrets in nexusctl"
    head = text("demo", [service(**FULL)], [])
    assert "# chat: set LICENCE to the content of /run/licence\n" in head
    assert "# chat: set OTHER to what its command prints\n" in head


@pytest.mark.parametrize(
    ("gpus", "device"),
    [
        ({"count": 2}, {"count": 2, "capabilities": ["gpu"]}),
        ({"count": "all"}, {"count": "all", "capabilities": ["gpu"]}),
        (
            {"ids": ["nvidia.com/gpu=0"]},
            {"driver": "cdi", "device_ids": ["nvidia.com/gpu=0"], "capabilities": ["gpu"]},
        ),
    ],
)
def test_gpus(gpus: dict[str, Any], device: dict[str, Any]) -> None:
    found = only(service(resources={"gpus": gpus}))
    assert found["deploy"]["resources"]["reservations"]["devices"] == [device]


def test_the_parts_of_a_split_model_lie_side_by_side() -> None:
    found = only(service(files=("/data/m-00001-of-00002.gguf", "/data/m-00002-of-00002.gguf")))
    assert [mount["target"] for mount in found["volumes"]] == [
        "/models/smol/m-00001-of-00002.gguf",
        "/models/smol/m-00002-of-00002.gguf",
    ]
    assert found["command"][1] == "/models/smol/m-00001-of-00002.gguf"


def test_an_image_that_is_not_here() -> None:
    """llama.cpp's images start their server by themselves; of others the program is named."""
    unknown = service(entrypoint=None)
    assert "entrypoint" not in only(unknown)
    assert only(unknown)["command"][0] == "--model"
    vllm = service("big", engine={"vllm": {}}, files=("/data/model",), entrypoint=None)
    assert only(vllm)["entrypoint"] == ["vllm"]
    assert only(vllm)["command"][:2] == ["serve", "/models/smol"]
    assert only(vllm)["ports"] == ["127.0.0.1::8000"]
    assert "# big: vllm/vllm-openai:latest was not here to be asked for its entry point\n" in text("demo", [vllm], [])


def test_what_is_written_reads_back() -> None:
    services = [service(**FULL), service("no", env={"YES": {"value": "on"}, "N": {"value": "1e3"}})]
    written = text("demo", services, ["Route/chat", "Preset/calm"])
    assert written.splitlines()[1].endswith("not in here: Preset/calm, Route/chat")
    assert yaml.safe_load(written) == document("demo", services)
    assert yaml.safe_load(written)["services"]["no"]["environment"] == {
        "LLAMA_ARG_CORS_ORIGINS": "localhost",
        "N": "1e3",
        "YES": "on",
    }


@pytest.mark.docker  # its run is the one that brings Compose along
def test_compose_accepts_it(compose: list[str], tmp_path: Path) -> None:
    bare = replace(service("bare"), launch=replace(service().launch, image="x"))
    (tmp_path / "compose.yaml").write_text(text("demo", [service(**FULL), bare], []), encoding="utf-8")
    config = [*compose, "-f", str(tmp_path / "compose.yaml"), "config"]
    unset = subprocess.run(config, capture_output=True, text=True, check=False)
    assert unset.returncode != 0
    assert "is not set" in unset.stderr
    given = {"MY_TOKEN": "t", "LICENCE": "l", "OTHER": "o"}
    done = subprocess.run(config, capture_output=True, text=True, check=False, env={**os.environ, **given})
    assert done.returncode == 0, done.stderr
    chat = yaml.safe_load(done.stdout)["services"]["chat"]
    assert chat["environment"]["HF_TOKEN"] == "t"
    assert chat["environment"]["GREETING"].replace("$$", "$") == "50 $ and ${HOME}"

"""A foreign container becomes manifests that nexusctl accepts, and that would run the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker
import pytest

from nexus_ctl.engines import table
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.model import ModelSpec
from nexus_ctl.runtimes.docker.adoption import manifests_from_inspect
from nexus_ctl.runtimes.docker.left_out import left_out

IMAGE = {"Config": {"Env": ["PATH=/bin"], "Entrypoint": ["/app/llama-server"]}}
LEGACY: dict[str, Any] = {
    "Name": "/Legacy_Llama",
    "Config": {
        "Image": "ghcr.io/ggml-org/llama.cpp:server-cuda",
        "Entrypoint": ["/app/llama-server"],
        "Cmd": [
            *("-m", "/models/qwen.gguf", "-c", "8192", "-np", "2", "--host", "0.0.0.0", "--port", "9000"),
            *("-ngl", "99", "-fa", "on", "-ctk", "q8_0", "--temp", "0.7", "--no-slots", "--tensor-split", "3,1"),
        ],
        "Env": ["PATH=/bin", "GREETING=hello", "SEARCH_TOKEN=hf_do_not_print_me"],
        "User": "1000",
    },
    "HostConfig": {
        "ShmSize": 1 << 30,
        "ReadonlyRootfs": False,
        "NanoCpus": 4_000_000_000,
        "Memory": 8 << 30,
        "DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}],
        "PortBindings": {"9000/tcp": [{"HostIp": "", "HostPort": "9000"}]},
        "Ulimits": [{"Name": "memlock", "Soft": -1, "Hard": -1}],
    },
    "Mounts": [{"Type": "bind", "Source": "/srv/models", "Destination": "/models"}],
}


def changed(**config: Any) -> dict[str, Any]:
    return LEGACY | {"Config": LEGACY["Config"] | config}


def test_a_llama_server_becomes_fields() -> None:
    model, deployment = manifests_from_inspect(LEGACY, IMAGE)
    assert model == {
        "apiVersion": "nexus/v1",
        "kind": "Model",
        "metadata": {"name": "legacy-llama-model"},
        "spec": {"source": {"path": "/srv/models/qwen.gguf"}},
    }
    assert deployment["metadata"] == {"name": "legacy-llama", "annotations": {"nexusctl/adopt": "Legacy_Llama"}}
    assert deployment["spec"] == {
        "model": "legacy-llama-model",
        "engine": {
            "llamaCpp": {
                "image": "ghcr.io/ggml-org/llama.cpp:server-cuda",
                "contextSize": 8192,
                "parallel": 2,
                "gpu": {"layers": 99, "tensorSplit": [3.0, 1.0]},
                "memory": {"flashAttention": "on", "cacheTypeK": "q8_0"},
                "server": {"slots": False},
                "sampling": {"temperature": 0.7},
            }
        },
        "env": {"GREETING": {"value": "hello"}, "SEARCH_TOKEN": {"valueFrom": {"env": "SEARCH_TOKEN"}}},
        "resources": {"cpu": 4.0, "memory": "8Gi", "gpus": {"count": "all"}},
        "container": {"readOnlyRoot": False, "user": "1000", "shmSize": "1Gi", "ulimits": {"memlock": -1}},
    }


def test_what_is_written_is_accepted_and_runs_the_same_words() -> None:
    model, deployment = manifests_from_inspect(LEGACY, IMAGE)
    ModelSpec.model_validate(model["spec"])
    spec = DeploymentSpec.model_validate(deployment["spec"])
    assert [fault for fault in table.check(spec) if fault.severity == "error"] == []
    launch = table.launch(spec)
    for words in (
        ["--ctx-size", "8192"],
        ["--parallel", "2"],
        ["--gpu-layers", "99"],
        ["--temp", "0.7"],
        ["--no-slots"],
    ):
        at = launch.argv.index(words[0])
        assert list(launch.argv[at : at + len(words)]) == words


def test_what_is_loaded_beside_the_model_becomes_models_and_references() -> None:
    cmd = [
        *("-m", "/models/q.gguf", "-md", "/models/small.gguf", "--draft-p-min", "0.5", "--spec-type", "draft-simple"),
        *("--lora", "/models/a.gguf", "--lora", "/models/b.gguf", "--lora-scaled", "/models/c.gguf:0.5"),
        *("--mmproj", "/models/mmproj.gguf", "--no-mmproj-offload", "--samplers", "top_k;temperature", "--seed", "-1"),
        *("--cors-origins", "https://a.example,https://b.example", "-dev", "CUDA1,CUDA0", "--rope-scale", "2"),
    ]
    *models, deployment = manifests_from_inspect(changed(Cmd=cmd), IMAGE)
    assert {one["metadata"]["name"]: one["spec"]["source"]["path"] for one in models} == {
        "legacy-llama-model": "/srv/models/q.gguf",
        "legacy-llama-draft": "/srv/models/small.gguf",
        "legacy-llama-adapter-0": "/srv/models/a.gguf",
        "legacy-llama-adapter-1": "/srv/models/b.gguf",
        "legacy-llama-adapter-2": "/srv/models/c.gguf",
        "legacy-llama-projector": "/srv/models/mmproj.gguf",
    }
    engine = deployment["spec"]["engine"]["llamaCpp"]
    assert engine == {
        "image": "ghcr.io/ggml-org/llama.cpp:server-cuda",
        "draft": {"model": "legacy-llama-draft", "pMin": 0.5},
        "adapters": [
            {"model": "legacy-llama-adapter-0"},
            {"model": "legacy-llama-adapter-1"},
            {"model": "legacy-llama-adapter-2", "scale": 0.5},
        ],
        "projector": {"model": "legacy-llama-projector", "offload": False},
        "sampling": {"samplers": ["top_k", "temperature"]},
        "server": {"corsOrigins": ["https://a.example", "https://b.example"]},
        "gpu": {"devices": ["CUDA1", "CUDA0"]},
        "rope": {"scale": 2.0},
    }
    assert table.check(DeploymentSpec.model_validate(deployment["spec"])) == ()


@pytest.mark.parametrize(
    ("words", "engine"),
    [
        (("--spec-type", "ngram-mod"), {"args": {"spec-type": "ngram-mod"}}),
        (("--spec-type", "draft-mtp", "--spec-draft-n-max", "2"), {"draft": {"method": "mtp", "nMax": 2}}),
        (("--spec-draft-n-max", "2"), {}),
        (
            ("--spec-type", "draft-eagle3", "-md", "/models/h.gguf"),
            {"draft": {"method": "eagle3", "model": "legacy-llama-draft"}},
        ),
        (("--predict", "-1"), {}),
        (("--predict", "64"), {"sampling": {"maxTokens": 64}}),
    ],
)
def test_speculation_and_limits(words: tuple[str, ...], engine: dict[str, Any]) -> None:
    *_, deployment = manifests_from_inspect(changed(Cmd=["-m", "/models/q.gguf", *words]), IMAGE)
    found = deployment["spec"]["engine"]["llamaCpp"]
    assert {key: value for key, value in found.items() if key != "image"} == engine
    DeploymentSpec.model_validate(deployment["spec"])


def test_variables_that_llama_server_reads_are_its_flags() -> None:
    env = ["PATH=/bin", "LLAMA_ARG_CTX_SIZE=4096", "LLAMA_ARG_N_PARALLEL=4", "LLAMA_ARG_MODEL=/models/env.gguf"]
    env += ["LLAMA_ARG_ENDPOINT_METRICS=1", "LLAMA_ARG_CONT_BATCHING=0", "LLAMA_ARG_EMBEDDINGS=no", "OTHER=x"]
    model, deployment = manifests_from_inspect(changed(Cmd=["--ctx-size=512"], Env=env), IMAGE)
    assert model["spec"] == {"source": {"path": "/srv/models/env.gguf"}}
    engine = deployment["spec"]["engine"]["llamaCpp"]
    assert engine == {
        "image": "ghcr.io/ggml-org/llama.cpp:server-cuda",
        "contextSize": 512,
        "parallel": 4,
        "server": {"metrics": True},
        "batching": {"continuous": False},
    }
    assert deployment["spec"]["env"] == {"OTHER": {"value": "x"}}
    assert [f for f in table.check(DeploymentSpec.model_validate(deployment["spec"])) if f.severity == "error"] == []


def test_whatever_is_left_out_is_told() -> None:
    host = LEGACY["HostConfig"] | {"RestartPolicy": {"Name": "always"}, "CapAdd": ["SYS_ADMIN"], "NetworkMode": "host"}
    mounts = [*LEGACY["Mounts"], {"Type": "volume", "Name": "v", "Source": "", "Destination": "/extra"}]
    words = ["-m", "/models/qwen.gguf", "--alias", "gpt-4", "--api-key", "sk-do-not-print-me"]
    there = changed(Cmd=words) | {"HostConfig": host, "Mounts": mounts}
    notes = left_out(there, IMAGE)
    assert notes == (
        "its port 0.0.0.0:9000 -> 9000/tcp: clients ask the gateway, by the name of a Route",
        "its mount v -> /extra: only models are mounted",
        "added capabilities: nexusctl's containers have none",
        "its network: nexusctl makes one for each stack",
        "its restart policy always: nexusctl heals",
        "its model name 'gpt-4': declare a Route with that name",
        "--api-key: the gateway must know the key; declare server.apiKey, by reference",
        "its number of slots, which llama-server chose itself: the manifest says 1 by saying nothing",
        "the value of SEARCH_TOKEN: set it in the environment of nexusctl, or change valueFrom",
    )
    assert "do-not-print-me" not in repr((notes, manifests_from_inspect(there, IMAGE)))


def test_nothing_is_told_where_nothing_is_left_out() -> None:
    plain = {
        "Name": "/x",
        "Config": {"Image": "i", "Entrypoint": ["/app/llama-server"], "Cmd": ["-m", "/m.gguf", "-np", "1"]},
        "HostConfig": {"RestartPolicy": {"Name": "no"}, "NetworkMode": "bridge", "PortBindings": {}},
        "Mounts": [{"Type": "bind", "Source": "/srv/m.gguf", "Destination": "/m.gguf"}],
    }
    assert left_out(plain, IMAGE) == ()


def test_a_secret_never_reaches_the_manifest() -> None:
    assert "hf_do_not_print_me" not in repr(manifests_from_inspect(LEGACY, IMAGE))


def test_anything_else_is_a_custom_engine() -> None:
    inspect = changed(Entrypoint=["tabby"], Cmd=["serve", "--model=/models/x", "/models/x.gguf", "--port", "9000"])
    _, deployment = manifests_from_inspect(inspect, IMAGE)
    assert deployment["spec"]["engine"] == {
        "custom": {
            "image": "ghcr.io/ggml-org/llama.cpp:server-cuda",
            "command": ["tabby", "serve", "--model=/models/x", "{model}", "--port", "9000"],
            "port": 9000,
        }
    }


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"Cmd": ["-m", "/elsewhere/x.gguf"]}, "no file of this machine"),
        ({"Cmd": ["--hf-repo", "x/y"]}, "no file of this machine"),
        ({"Cmd": ["-m", "/models/x.gguf", "--frobnicate"]}, "'--frobnicate' of llama-server cannot be declared"),
        ({"Entrypoint": None, "Cmd": None}, "no file of this machine"),
    ],
)
def test_what_cannot_be_said_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(Terminal, match=words):
        manifests_from_inspect(changed(**config), IMAGE)


@pytest.mark.docker
def test_a_real_container(docker_api: docker.APIClient, tiny_image: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("weights\n")
    host = docker_api.create_host_config(binds={str(tmp_path): {"bind": "/models", "mode": "ro"}}, mem_limit="64m")
    made = docker_api.create_container(tiny_image, ["show", "/models/m.gguf"], host_config=host, name="Theirs")
    model, deployment = manifests_from_inspect(
        docker_api.inspect_container(made["Id"]), docker_api.inspect_image(tiny_image)
    )
    docker_api.remove_container(made["Id"])
    assert model["spec"] == {"source": {"path": f"{tmp_path}/m.gguf"}}
    assert deployment["spec"] == {
        "model": "theirs-model",
        "engine": {"custom": {"image": tiny_image, "command": ["/bin/tiny", "show", "{model}"], "port": 8080}},
        "resources": {"memory": "64Mi"},
        "container": {"readOnlyRoot": False},
    }

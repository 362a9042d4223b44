"""What the engine is asked to create, and what it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexus_ctl.resources.launch import ALL_GPUS, HOST, PORT, GpuRequest, LaunchSpec, Limits, Mount
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Replica
from nexus_ctl.resources.secret import ValueFrom
from nexus_ctl.runtimes.docker.container import (
    NO_MEMORY_LIMIT,
    ImageFacts,
    container_config,
    limit_fields,
    network_name,
    program,
    with_secret_mount,
)

OWNER = Ownership("0123456789abcdef", "demo", "Deployment", "chat", 0, "v1:0123456789abcdef", '{"a":1}')
LLAMA = ImageFacts("sha256:1234", ("/app/llama-server",), ("/usr/bin", "/bin"))
LAUNCH = LaunchSpec(
    argv=("llama-server", "--model", "/models/m.gguf", "--host", HOST, "--port", PORT),
    env={"B": "2", "A": "1"},
    mounts=(Mount("/models/m.gguf", "/cache/abc", "m"),),
    image="ghcr.io/ggml-org/llama.cpp:server",
)


def config(launch: LaunchSpec = LAUNCH, image: ImageFacts = LLAMA) -> dict[str, object]:
    return container_config(Replica("demo-chat-0-12345678", OWNER, launch), image, "net-id")


def test_the_whole_request() -> None:
    assert config() == {
        "Image": "sha256:1234",
        "Entrypoint": ["/app/llama-server"],
        "Cmd": ["--model", "/models/m.gguf", "--host", "0.0.0.0", "--port", "8080"],
        "Env": ["A=1", "B=2"],
        "Labels": OWNER.labels(),
        "User": "",
        "ExposedPorts": {"8080/tcp": {}},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "Mounts": [{"Type": "bind", "Source": "/cache/abc", "Target": "/models/m.gguf", "ReadOnly": True}],
            "Init": True,
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": 4096,
            "Ulimits": [],
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "20m", "max-file": "3"}},
            "DeviceRequests": [],
            "CpuPeriod": 100_000,
            "NetworkMode": "net-id",
            "PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        },
        "NetworkingConfig": {"EndpointsConfig": {"net-id": {"Aliases": ["chat"]}}},
    }


@pytest.mark.parametrize(
    ("argv", "entrypoint", "words"),
    [
        (("llama-server", "-m", "x"), ("/app/llama-server",), ("/app/llama-server", "-m", "x")),
        (("llama-server", "-m", "x"), ("/entry.sh",), ("llama-server", "-m", "x")),
        (("llama-server", "-m", "x"), (), ("llama-server", "-m", "x")),
        (("vllm", "serve", "x"), ("vllm", "serve"), ("vllm", "serve", "x")),
        (("vllm", "serve", "x"), ("python3", "-m", "vllm.entrypoints.openai.api_server"), ("vllm", "serve", "x")),
    ],
)
def test_the_program_is_the_entry_point_when_that_is_what_is_meant(
    argv: tuple[str, ...], entrypoint: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert program(argv, ImageFacts("sha256:1", entrypoint, ())) == words


def test_secrets_are_named_and_read_by_a_shell() -> None:
    secret = {"TOKEN": ValueFrom(env="HOME"), "KEY": ValueFrom(file="key")}
    asked = with_secret_mount(config(replace(LAUNCH, secret_env=secret)), "/dev/shm/x")
    assert asked["Entrypoint"] == ["/bin/sh"]
    assert asked["Cmd"][:3] == ["-c", '. /run/nexusctl/env && exec "$0" "$@"', "/app/llama-server"]
    assert asked["Labels"] == OWNER.labels() | {"nexusctl/secret-env": "KEY,TOKEN"}
    assert asked["Env"] == ["A=1", "B=2"]
    folder = {"Type": "bind", "Source": "/dev/shm/x", "Target": "/run/nexusctl", "ReadOnly": True}
    assert asked["HostConfig"]["Mounts"][-1] == folder


@pytest.mark.parametrize(
    ("gpus", "asked", "env"),
    [
        (GpuRequest(count=2), {"Driver": "", "Count": 2, "Capabilities": [["gpu"]]}, []),
        (GpuRequest(count=ALL_GPUS), {"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}, []),
        (
            GpuRequest(ids=("2", "0"), capabilities=("gpu", "utility")),
            {"Driver": "", "DeviceIDs": ["2", "0"], "Capabilities": [["gpu", "utility"]]},
            ["CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=1,0"],
        ),
        (
            GpuRequest(ids=("GPU-b", "GPU-a")),
            {"Driver": "", "DeviceIDs": ["GPU-b", "GPU-a"], "Capabilities": [["gpu"]]},
            ["CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=GPU-b,GPU-a"],
        ),
        (GpuRequest(ids=("3",)), {"Driver": "", "DeviceIDs": ["3"], "Capabilities": [["gpu"]]}, []),
        (GpuRequest(ids=("nvidia.com/gpu=0",)), {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0"]}, []),
    ],
)
def test_gpus(gpus: GpuRequest, asked: dict[str, object], env: list[str]) -> None:
    made = container_config(Replica("n", OWNER, replace(LAUNCH, gpus=gpus, env={})), LLAMA, "net-id")
    assert made["HostConfig"]["DeviceRequests"] == [asked]
    assert made["Env"] == env


def test_a_fixed_address() -> None:
    made = container_config(Replica("n", OWNER, replace(LAUNCH, fixed_listen="[::1]:8600")), LLAMA, "net-id")
    assert made["HostConfig"]["PortBindings"] == {"8080/tcp": [{"HostIp": "::1", "HostPort": "8600"}]}


def test_limits_and_their_absence() -> None:
    period = {"CpuPeriod": 100_000}
    assert limit_fields(Limits(1.5, 64)) == period | {"CpuQuota": 150_000, "Memory": 64, "MemorySwap": 64}
    lifted = {"CpuQuota": -1, "Memory": NO_MEMORY_LIMIT, "MemorySwap": NO_MEMORY_LIMIT}
    assert limit_fields(Limits()) == period | lifted


def test_a_network_per_install_and_stack() -> None:
    assert network_name(OWNER.instance, OWNER.set) == "nexusctl-01234567-demo"
    assert network_name(OWNER.instance, "other") != network_name(OWNER.instance, OWNER.set)
    assert network_name("another-one", OWNER.set) != network_name(OWNER.instance, OWNER.set)

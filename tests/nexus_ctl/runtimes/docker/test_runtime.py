"""What only containers have, on a real engine: confinement, networks, secrets, images, GPUs, and whose is whose."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import docker
import pytest

from nexus_ctl.errors import NameInUse, NotFound, Refused, Terminal
from nexus_ctl.resources.launch import ALL_GPUS, GpuRequest, LaunchSpec, Limits, Mount, Sandbox
from nexus_ctl.resources.replica import Exit, Replica, ReplicaState
from nexus_ctl.resources.secret import ValueFrom
from nexus_ctl.runtimes.docker.container import NO_MEMORY_LIMIT
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from nexus_ctl.runtimes.docker.secrets import SecretFiles
from tests.contracts.runtime_suite import until
from tests.fixtures import images
from tests.fixtures.private_engine import Engine, spare_engine
from tests.nexus_ctl.runtimes.docker.conftest import MakeReplica, make_replica

pytestmark = pytest.mark.docker

MIB = 1024 * 1024
ASK = """
import sys
from urllib.request import urlopen
for name in sys.argv[1:]:
    try:
        print(name, urlopen(f"http://{name}:8080/", timeout=1).read().decode())
    except OSError:
        print(name, "cannot be reached")
"""


def run(runtime: DockerRuntime, replica: Replica) -> Replica:
    runtime.create(replica)
    runtime.start(replica.name, {})
    return replica


def output(runtime: DockerRuntime, replica: Replica) -> list[str]:
    """What it printed until it ended."""
    run(runtime, replica)
    until(lambda: (seen := runtime.inspect(replica.name)) and seen.state is ReplicaState.EXITED)
    return list(runtime.logs(replica.name))


def shell(instance: str, image: str, script: str, **launch: object) -> Replica:
    """A replica that runs a shell script in tiny's image."""
    made = make_replica(instance, image, **launch)
    return Replica(made.name, made.owner, LaunchSpec(argv=("/bin/sh", "-c", script), image=image, **launch))  # type: ignore[arg-type]


# confinement


def test_nothing_is_open_that_was_not_asked_for(runtime: DockerRuntime, instance: str, tiny_image: str) -> None:
    script = """
        touch /bin/x 2>/dev/null || echo root is read-only
        echo '#!/bin/sh' > /tmp/x && echo 'echo tmp runs' >> /tmp/x && /bin/sh /tmp/x
        while read key value; do
            case $key in CapEff:|CapBnd:|NoNewPrivs:) echo $key $value;; esac
        done < /proc/self/status
    """
    assert output(runtime, shell(instance, tiny_image, script)) == [
        "root is read-only",
        "tmp runs",
        "CapEff: 0000000000000000",
        "CapBnd: 0000000000000000",
        "NoNewPrivs: 1",
    ]


def test_the_sandbox_is_what_was_asked_for(
    runtime: DockerRuntime, instance: str, tiny_image: str, docker_api: docker.APIClient
) -> None:
    sandbox = Sandbox(
        user="1000:1000", writable=("/scratch",), shm_bytes=96 * MIB, pids=50, ulimits={"nofile": 77, "core": 0}
    )
    script = "id -u; touch /scratch/x && echo scratch; touch /tmp/x 2>/dev/null || echo no tmp; ulimit -n"
    made = shell(instance, tiny_image, f"{script}; cat /proc/mounts", sandbox=sandbox)
    lines = output(runtime, made)
    assert lines[:2] == ["1000", "scratch"]
    assert "no tmp" in lines
    assert "77" in lines
    assert any(line.startswith("shm /dev/shm") and f"size={96 * 1024}k" in line for line in lines)
    assert docker_api.inspect_container(made.name)["HostConfig"]["PidsLimit"] == 50


def test_a_model_is_mounted_read_only(runtime: DockerRuntime, instance: str, tiny_image: str, tmp_path: Path) -> None:
    weights = tmp_path / "weights.gguf"
    weights.write_text("weights\n")
    mounts = (Mount("/models/m.gguf", str(weights)),)
    script = "cat /models/m.gguf; (echo x > /models/m.gguf) 2>/dev/null || echo read-only"
    assert output(runtime, shell(instance, tiny_image, script, mounts=mounts)) == ["weights", "read-only"]
    assert weights.read_text() == "weights\n"


def test_published_on_loopback_only(runtime: DockerRuntime, replica: MakeReplica, docker_api: docker.APIClient) -> None:
    one = run(runtime, replica())
    bound = docker_api.inspect_container(one.name)["NetworkSettings"]["Ports"]
    assert [binding["HostIp"] for bindings in bound.values() for binding in bindings] == ["127.0.0.1"]


def test_a_fixed_address_is_kept_and_a_taken_one_is_named(runtime: DockerRuntime, replica: MakeReplica) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        one = replica(fixed_listen=address)
        runtime.create(one)
        with pytest.raises(Refused, match=r"in use|already allocated"):
            runtime.start(one.name, {})
        seen = runtime.inspect(one.name)
        assert seen is not None
        assert seen.state is ReplicaState.CREATED
        assert seen.exit is not None
        assert seen.exit.error
    runtime.start(one.name, {})
    seen = runtime.inspect(one.name)
    assert seen is not None
    assert seen.address == f"http://{address}"


# networks


def test_one_private_network_per_stack_with_names(
    runtime: DockerRuntime, replica: MakeReplica, docker_api: docker.APIClient, instance: str
) -> None:
    first, second = run(runtime, replica()), run(runtime, replica())
    other = run(runtime, replica(set_name="another"))
    ours = docker_api.networks(filters={"label": f"nexusctl/instance={instance}"})
    assert sorted(network["Name"] for network in ours) == [
        f"nexusctl-{instance[:8]}-another",
        f"nexusctl-{instance[:8]}-demo",
    ]
    beyond = docker_api.inspect_container(other.name)["NetworkSettings"]["Networks"].popitem()[1]["IPAddress"]
    command = [str(images.PYTHON), "-c", ASK, "chat", second.name, beyond]
    expected = ["chat ok", f"{second.name} ok", f"{beyond} cannot be reached"]

    def asked() -> list[str]:
        answer: bytes = docker_api.exec_start(docker_api.exec_create(first.name, command)["Id"])
        return answer.decode().splitlines()

    assert until(lambda: asked() == expected), "names lead to replicas of the stack, and to no other's"
    for one in (first, second, other):
        assert docker_api.networks(filters={"label": f"nexusctl/set={one.owner.set}"})
        runtime.stop(one.name, 5)
        runtime.remove(one.name)
    assert docker_api.networks(filters={"label": f"nexusctl/instance={instance}"}) == []


def test_a_network_that_somebody_else_uses_stays(
    runtime: DockerRuntime, replica: MakeReplica, docker_api: docker.APIClient, tiny_image: str, instance: str
) -> None:
    one = replica()
    runtime.create(one)
    network = docker_api.networks(filters={"label": f"nexusctl/instance={instance}"})[0]
    theirs = docker_api.create_container(
        tiny_image,
        ["serve", "0.0.0.0", "80"],
        networking_config=docker_api.create_networking_config({network["Id"]: docker_api.create_endpoint_config()}),
        host_config=docker_api.create_host_config(network_mode=network["Id"]),
    )
    docker_api.start(theirs["Id"])
    runtime.remove(one.name)
    assert docker_api.networks(ids=[network["Id"]])
    assert docker_api.inspect_container(theirs["Id"])["State"]["Running"]


# whose is whose


def test_two_installs_never_touch_each_other(
    runtime: DockerRuntime, replica: MakeReplica, engine: Engine, tiny_image: str
) -> None:
    theirs = DockerRuntime("another-install", engine.url)
    foreign = make_replica("another-install", tiny_image, name="shared-name")
    theirs.create(foreign)
    mine = run(runtime, replica())
    assert [one.name for one in runtime.list()] == [mine.name]
    assert [one.name for one in theirs.list()] == [foreign.name]
    with pytest.raises(NameInUse, match="shared-name"):
        runtime.create(replica(name="shared-name"))
    seen = runtime.inspect("shared-name")
    assert seen is not None
    assert seen.owner == foreign.owner
    runtime.stop(mine.name, 5)
    runtime.remove(mine.name)
    assert [one.name for one in theirs.list()] == [foreign.name]
    theirs.close()


def test_a_foreign_container_keeps_our_name_and_its_life(
    runtime: DockerRuntime, replica: MakeReplica, docker_api: docker.APIClient, tiny_image: str
) -> None:
    made = docker_api.create_container(tiny_image, ["serve", "0.0.0.0", "80"], name="demo-chat-0-taken")
    docker_api.start(made["Id"])
    with pytest.raises(NameInUse, match="demo-chat-0-taken"):
        runtime.create(replica(name="demo-chat-0-taken"))
    seen = runtime.inspect("demo-chat-0-taken")
    assert seen is not None
    assert (seen.owner, seen.runtime_id, seen.state) == (None, made["Id"], ReplicaState.RUNNING)
    assert runtime.list() == ()


def test_the_beginning_of_an_id_is_no_name(runtime: DockerRuntime, replica: MakeReplica) -> None:
    one = replica()
    runtime.create(one)
    seen = runtime.inspect(one.name)
    assert seen is not None
    assert runtime.inspect(seen.runtime_id[:12]) is None
    with pytest.raises(NotFound):
        runtime.remove(seen.runtime_id[:12])


# images and programs


def test_a_missing_image_is_terminal_and_leaves_nothing(runtime: DockerRuntime, replica: MakeReplica) -> None:
    one = replica(image="nexus-test/nowhere:1")
    with pytest.raises(Terminal, match="nexus-test/nowhere:1 is not on this machine") as caught:
        runtime.create(one)
    assert caught.value.hint == "docker pull nexus-test/nowhere:1"
    assert runtime.inspect(one.name) is None


def test_without_image_there_is_no_container(runtime: DockerRuntime, replica: MakeReplica) -> None:
    with pytest.raises(Terminal, match="no container image"):
        runtime.create(replica(image=""))


def test_a_program_beside_the_entry_point(runtime: DockerRuntime, instance: str, tiny_image: str) -> None:
    assert output(runtime, shell(instance, tiny_image, "echo not the entry point")) == ["not the entry point"]


# secrets


def test_a_secret_needs_a_shell_in_the_image(
    runtime: DockerRuntime, replica: MakeReplica, tiny_image_without_shell: str
) -> None:
    one = replica(image=tiny_image_without_shell, secret_env={"TOKEN": ValueFrom(env="SOURCE")})
    with pytest.raises(Terminal, match=r"has no /bin/sh, by which TOKEN") as caught:
        runtime.create(one)
    assert "shell" in caught.value.hint
    assert runtime.inspect(one.name) is None
    open_one = run(runtime, replica(image=tiny_image_without_shell))
    assert runtime.inspect(open_one.name)


def test_a_secret_is_any_text_and_gone_after_the_stop(
    engine: Engine, instance: str, replica: MakeReplica, runtime: DockerRuntime, docker_api: docker.APIClient
) -> None:
    value = """it's "quoted" $HOME `id`\nand äöü"""
    one = replica(secret_env={"TOKEN": ValueFrom(env="SOURCE")})
    runtime.create(one)
    runtime.start(one.name, {"TOKEN": value, "OTHER": "never asked for"})
    seen = runtime.inspect(one.name)
    assert seen is not None

    def answer(path: str) -> str:
        with urlopen(f"{seen.address}/env/{path}", timeout=30) as reply:
            text: str = reply.read().decode()
            return text

    until(lambda: _listens(seen.address))
    assert answer("TOKEN") == value
    assert answer("OTHER") == ""
    folder = SecretFiles().folder(one.name)
    assert [path.name for path in folder.iterdir()] == ["env"]
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert "quoted" not in json.dumps(docker_api.inspect_container(one.name))
    runtime.stop(one.name, 5)
    assert list(folder.iterdir()) == []
    runtime.start(one.name, {"TOKEN": "another"})
    seen = runtime.inspect(one.name)
    assert seen is not None
    until(lambda: _listens(seen.address))
    assert answer("TOKEN") == "another"
    runtime.stop(one.name, 5)
    runtime.remove(one.name)
    assert not folder.exists()


def _listens(address: str) -> bool:
    try:
        urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True


# limits


def test_limits_can_be_lifted_from_a_running_one(
    runtime: DockerRuntime, replica: MakeReplica, docker_api: docker.APIClient
) -> None:
    one = run(runtime, replica(limits=Limits(cpu_cores=0.5, memory_bytes=64 * MIB)))
    runtime.update(one.name, Limits())
    seen = runtime.inspect(one.name)
    assert seen is not None
    assert seen.limits == Limits()
    host = docker_api.inspect_container(one.name)["HostConfig"]
    assert (host["CpuQuota"], host["Memory"]) == (-1, NO_MEMORY_LIMIT)
    runtime.update(one.name, Limits(memory_bytes=64 * MIB))
    assert runtime.list()[0].limits == Limits(memory_bytes=64 * MIB)


def test_a_limit_below_what_the_engine_can_keep_is_refused(runtime: DockerRuntime, replica: MakeReplica) -> None:
    one = run(runtime, replica(limits=Limits(memory_bytes=64 * MIB)))
    with pytest.raises(Refused, match="Minimum memory limit"):
        runtime.update(one.name, Limits(memory_bytes=MIB))
    with pytest.raises(Terminal, match="Minimum memory limit"):
        runtime.create(replica(limits=Limits(memory_bytes=MIB)))
    assert runtime.list()[0].limits == Limits(memory_bytes=64 * MIB)


# list


def test_an_unchanged_world_is_one_call(
    runtime: DockerRuntime, replica: MakeReplica, docker_api: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [run(runtime, replica()).name for _ in range(3)]
    first = runtime.list()
    calls: list[str] = []
    send = runtime.api.send
    monkeypatch.setattr(runtime.api, "send", lambda request, **rest: calls.append(request.url) or send(request, **rest))
    assert runtime.list() == first
    assert len(calls) == 1
    docker_api.kill(names[0])
    until(lambda: {one.name: one for one in runtime.list()}[names[0]].exit == Exit(137, 9))
    calls.clear()
    runtime.list()
    assert len(calls) == 1


def test_a_restart_by_somebody_else_is_seen(
    runtime: DockerRuntime, replica: MakeReplica, docker_api: docker.APIClient
) -> None:
    one = run(runtime, replica())
    before = runtime.list()[0]
    docker_api.restart(one.name, timeout=5)
    after = until(lambda: (seen := runtime.list()[0]).address not in ("", before.address) and seen)
    assert after == runtime.inspect(one.name)
    assert after.started_at > before.started_at


# GPUs


@pytest.fixture(scope="module")
def gpu_runtime(engine: Engine) -> Iterator[DockerRuntime]:
    """On an engine that believes to have the NVIDIA Container Toolkit: a hook that does nothing."""
    with spare_engine() as spare:
        spare.add_program("nvidia-container-runtime-hook", "#!/bin/sh\nexit 0\n")
        spare.restart()
        opened = DockerRuntime("gpus", spare.url)
        images.build(opened.api, images.tiny())
        yield opened
        opened.close()


def test_without_gpus_the_start_says_so(runtime: DockerRuntime, replica: MakeReplica) -> None:
    one = replica(gpus=GpuRequest(count=1))
    runtime.create(one)
    with pytest.raises(Terminal, match="could not select device driver") as caught:
        runtime.start(one.name, {})
    assert "NVIDIA Container Toolkit" in caught.value.hint
    seen = runtime.inspect(one.name)
    assert seen is not None
    assert seen.exit is not None
    assert "could not select device driver" in seen.exit.error


@pytest.mark.parametrize(
    ("gpus", "visible", "order"),
    [
        (GpuRequest(count=2), "0,1", None),
        (GpuRequest(count=ALL_GPUS), "all", None),
        (GpuRequest(ids=("GPU-b", "GPU-a")), "GPU-b,GPU-a", "GPU-b,GPU-a"),
        (GpuRequest(ids=("3", "1")), "3,1", "1,0"),
    ],
)
def test_gpus_reach_the_container(
    gpu_runtime: DockerRuntime, replica: MakeReplica, gpus: GpuRequest, visible: str, order: str | None
) -> None:
    one = replica("env", "NVIDIA_VISIBLE_DEVICES", "env", "CUDA_VISIBLE_DEVICES", gpus=gpus)
    assert output(gpu_runtime, one) == [f"NVIDIA_VISIBLE_DEVICES={visible}", f"CUDA_VISIBLE_DEVICES={order or ''}"]

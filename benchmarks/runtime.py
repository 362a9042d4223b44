"""What the Docker runtime costs: looking at many containers, and starting one, beside the bare engine.

    python -m tests.fixtures.private_engine -- python -m benchmarks.runtime [--count 100 --count 300]

Looking: `list` when nothing changed (one call), the first `list` of a process (one inspect each, eight at once), the
same single call made bare, and the SDK's own `containers.list()`, which inspects one by one. Starting: create, start
and read the address back, through the runtime and of the same container by the bare SDK, in turns. Medians; compare
the ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import docker

from nexus_ctl.resources.launch import HOST, PORT, LaunchSpec
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Replica
from nexus_ctl.runtimes.docker.container import container_config
from nexus_ctl.runtimes.docker.images import image_facts
from nexus_ctl.runtimes.docker.networks import network_of
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from tests.fixtures import images

INSTANCE = "benchmark-runtime"
ROUNDS = 15
PORT_INSIDE = "8080/tcp"


def seconds(act: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median time of the act."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        act()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def replica(image: str, index: int) -> Replica:
    """A replica of `tiny` that serves."""
    owner = Ownership(INSTANCE, "bench", "Deployment", "chat", index, "v1:0123456789abcdef", "{}")
    return Replica(f"bench-chat-{index}", owner, LaunchSpec(argv=("tiny", "serve", HOST, PORT), image=image))


def looking(runtime: DockerRuntime, url: str, image: str, count: int) -> None:
    """Time of one look at `count` running containers."""
    api, client = runtime.api, docker.DockerClient(base_url=url)
    there = len(api.containers())

    def bring_up(index: int) -> None:
        one = replica(image, index)
        runtime.create(one)
        runtime.start(one.name, {})

    begun = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bring_up, range(there, count)))
    made = (count - there) / (time.perf_counter() - begun)

    def first() -> None:
        fresh = DockerRuntime(INSTANCE, url)
        assert len(fresh.list()) == count
        fresh.close()

    labels = {"label": f"nexusctl/instance={INSTANCE}"}
    bare = seconds(lambda: api.containers(all=True, filters=labels))
    unchanged, anew = seconds(runtime.list), seconds(first, 5)
    naive = seconds(lambda: client.containers.list(all=True, filters=labels), 5)
    client.close()
    print(
        f"{count} containers: list unchanged {unchanged * 1e3:.1f} ms ({unchanged / bare:.2f} x the bare call's "
        f"{bare * 1e3:.1f} ms), first list {anew * 1e3:.0f} ms, SDK containers.list() {naive * 1e3:.0f} ms; "
        f"brought up {made:.1f}/s"
    )


def starting(runtime: DockerRuntime, image: str) -> None:
    """Time from nothing to a running container with a known address."""
    api = runtime.api

    def ours() -> None:
        one = replica(image, 10_000)
        runtime.create(one)
        runtime.start(one.name, {})
        seen = runtime.inspect(one.name)
        assert seen is not None
        assert seen.address

    facts = image_facts(api, image)
    with network_of(api, replica(image, 10_001).owner) as network_id:
        config = container_config(replica(image, 10_001), facts, network_id)

    def bare() -> None:
        made = api.create_container_from_config(config, name="bench-bare")
        api.start(made["Id"])
        assert api.inspect_container(made["Id"])["NetworkSettings"]["Ports"][PORT_INSIDE]

    through, plain = [], []
    for _ in range(ROUNDS):
        through.append(seconds(ours, 1))
        plain.append(seconds(bare, 1))
        for name in ("bench-chat-10000", "bench-bare"):
            api.remove_container(name, force=True)
    mine, theirs = statistics.median(through), statistics.median(plain)
    print(f"create, start, address: {mine * 1e3:.0f} ms, bare SDK {theirs * 1e3:.0f} ms, ratio {mine / theirs:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, action="append", help="containers to look at; repeats, growing")
    counts = parser.parse_args().count or [10, 100]
    if "NEXUS_TEST_ENGINE" not in os.environ:
        raise SystemExit(
            "run it on a private engine: python -m tests.fixtures.private_engine -- python -m benchmarks.runtime"
        )
    url = os.environ["DOCKER_HOST"]
    runtime = DockerRuntime(INSTANCE, url)
    print(f"engine {runtime.api.version()['Version']}")
    image = images.build(runtime.api, images.tiny())
    starting(runtime, image)
    for count in sorted(counts):
        looking(runtime, url, image, count)
    runtime.close()


if __name__ == "__main__":
    main()

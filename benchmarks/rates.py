"""How fast whole commands are on containers, beside the bare engine.

    python -m tests.fixtures.private_engine -- python -m benchmarks.rates [--count 100 --count 300]

Looking: `nexusctl plan` and `nexusctl apply` with nothing to do over so many replicas, with every call to the engine
counted. Serving: from `nexusctl apply` to the first answer through the gateway, beside `docker run` of the same
container until it answers. Healing: from the death of the only replica to the next answer by `nexusctl apply`, beside
`docker start` until it answers. Medians of runs in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec

import docker

from benchmarks.child import NEXUSCTL, spend
from benchmarks.load import End, ask
from benchmarks.row import Row, table
from benchmarks.stage import HOST, Stage, private_engine, stage
from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.replica import Health
from nexus_ctl.runtimes.probe import HttpProber
from tests.fixtures import images
from tests.fixtures.faulting_proxy import Proxy, in_front_of

ROUNDS = 5
LOOKS = 3
DEPLOYMENTS = 5
POLL_SECONDS = 0.005
P = ParamSpec("P")
DEPLOYMENT = """\
---
apiVersion: nexus/v1
kind: Deployment
metadata: {{name: chat-{n}}}
spec:
  model: smol
  replicas: {replicas}
  engine: {{custom: {{image: "{image}", command: [tiny, serve, "{{host}}", "{{port}}"]}}}}
  probe: {{path: /}}
"""
STACK = """\
apiVersion: nexus/v1
kind: Stack
metadata: {{name: rates}}
spec:
  runtime: {{driver: docker, pullPolicy: Never}}
  modelCache: {{path: {folder}/cache}}
  parallelism: {{starts: 8}}
---
apiVersion: nexus/v1
kind: Model
metadata: {{name: smol}}
spec: {{source: {{path: {folder}/model.bin}}}}
"""


def looking(api: docker.APIClient, socket_path: str, counts: Sequence[int]) -> list[Row]:
    """Plan and idle apply over so many replicas of tiny."""
    image, rows = images.build(api, images.tiny()), []
    with tempfile.TemporaryDirectory(prefix="nexusctl-bench-") as name:
        folder = Path(name)
        (folder / "model.bin").write_bytes(b"m" * 1024)
        with in_front_of(socket_path, folder) as (proxy, url):
            environ = {"DOCKER_HOST": url, "HOME": name}
            try:
                for count in sorted(counts):
                    rows += _look(folder, image, count, proxy, environ)
            finally:
                _nexusctl(folder, environ, "delete", "-f", "nexus.yaml", "--yes")
    return rows


def _look(folder: Path, image: str, count: int, proxy: Proxy, environ: dict[str, str]) -> list[Row]:
    many = "".join(DEPLOYMENT.format(n=n, replicas=count // DEPLOYMENTS, image=image) for n in range(DEPLOYMENTS))
    (folder / "nexus.yaml").write_text(STACK.format(folder=folder) + many)
    _nexusctl(folder, environ, "apply", "--yes")
    rows = []
    for words in (("plan",), ("apply", "--yes")):
        what, wall, cpu = f"nexusctl {words[0]}, {count} replicas, nothing to do", [], []
        for _ in range(LOOKS):
            proxy.count()
            spent = _nexusctl(folder, environ, *words)
            wall.append(spent[0])
            cpu.append(spent[1])
        calls = Counter("lists" if "/containers/json" in call else "other" for call in proxy.log)
        each = Counter("per container" for call in proxy.log if "/json" in call and "/containers/json" not in call)
        rows += [
            Row(what, statistics.median(wall), "s"),
            Row(f"{what}: CPU", statistics.median(cpu), "s CPU"),
            Row(f"{what}: lists of containers", calls["lists"], ""),
            Row(f"{what}: all calls to the engine", len(proxy.log), "", f"{each['per container']} of them inspect"),
        ]
    return rows


def _nexusctl(folder: Path, environ: dict[str, str], *words: str) -> tuple[float, float]:
    """(wall, CPU) in seconds of one command that must succeed."""
    spent = spend([NEXUSCTL, *words], folder, {**os.environ, **environ})
    return spent.wall_seconds, spent.cpu_seconds


def serving(api: docker.APIClient, engine: str) -> list[Row]:
    """From nothing to an answer, and from a dead replica to an answer."""
    ours: dict[str, list[float]] = {"serve": [], "heal": []}
    bare: dict[str, list[float]] = {"serve": [], "heal": []}
    with stage(engine) as on:
        on.run("delete", "-f", "nexus.yaml", "--yes")
        for _ in range(ROUNDS):
            ours["serve"].append(_timed(_apply_until_served, on))
            [row] = api.containers(filters={"label": "nexusctl/set=rollout"})
            inspected = api.inspect_container(row["Id"])
            api.kill(row["Id"])
            ours["heal"].append(_timed(_apply_until_served, on))
            on.run("delete", "-f", "nexus.yaml", "--yes")
            command = _docker_run(inspected)
            bare["serve"].append(_timed(_bare, api, command))
            api.kill("bare")
            bare["heal"].append(_timed(_bare, api, ["start", "bare"]))
            api.remove_container("bare", force=True)
    peers = {"serve": "docker run until it answers", "heal": "docker start until it answers"}
    words = {"serve": "nexusctl apply, from nothing to an answer", "heal": "docker kill, nexusctl apply, to an answer"}
    return [
        Row(f"{words[what]} ({engine})", statistics.median(ours[what]), "s", peer, statistics.median(bare[what]))
        for what, peer in peers.items()
    ]


def _timed(act: Callable[P, object], *words: P.args, **more: P.kwargs) -> float:
    begun = time.perf_counter()
    act(*words, **more)
    return time.perf_counter() - begun


def _apply_until_served(on: Stage) -> None:
    on.run("apply", "--yes")
    assert asyncio.run(ask(HOST, on.port, stream=False, tokens=1)).end is End.WHOLE


def _docker_run(ours: Mapping[str, Any]) -> list[str]:
    """`docker run` of the same program with the same files and the same confinement."""
    config, host = ours["Config"], ours["HostConfig"]
    mounts = [f"type=bind,src={one['Source']},dst={one['Target']},readonly" for one in host.get("Mounts") or ()]
    env = [word for name in config["Env"] for word in ("--env", name)]
    first, *rest = [str(word) for key in ("Entrypoint", "Cmd") for word in config[key] or ()]
    return [
        "run", "--detach", "--name", "bare", "--publish", f"{HOST}::8080", "--read-only", "--cap-drop", "ALL", "--init",
        "--security-opt", "no-new-privileges", "--tmpfs", "/tmp", *(w for m in mounts for w in ("--mount", m)), *env,
        "--entrypoint", first, config["Image"], *rest,
    ]  # fmt: skip


def _bare(api: docker.APIClient, words: Sequence[str]) -> None:
    """A `docker` command that starts `bare`, until that is ready and has answered one question."""
    subprocess.run(["docker", *words], check=True, capture_output=True)
    [binding] = api.inspect_container("bare")["NetworkSettings"]["Ports"]["8080/tcp"]
    port = int(binding["HostPort"])
    while HttpProber().look(f"http://{HOST}:{port}", ReadyProbe()) is not Health.READY:
        time.sleep(POLL_SECONDS)
    assert asyncio.run(ask(HOST, port, stream=False, tokens=1)).end is End.WHOLE


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, action="append", help="replicas to look at; repeats")
    options = parser.parse_args()
    url = private_engine("rates")
    api = docker.APIClient(base_url=url)
    rows = [row for engine in ("chatter", "model") for row in serving(api, engine)]
    rows += looking(api, url.removeprefix("unix://"), options.count or [100, 300])
    api.close()
    print(table(rows))


if __name__ == "__main__":
    main()

"""FakeRuntime: the runtime port in memory, with Docker's real semantics; also the prober of what it runs.

It passes the same contract suite as the real runtimes (`tests/contracts/runtime_suite.py`). Deterministic, without
threads, and a plain value: `copy.deepcopy(world)` is a second world. What a program does is read from its words when
it is the suite's `tiny` (`tests/contracts/tiny.py`); any other program serves until it is stopped.

Knobs, most of them keyed by the Deployment's name (`owner.name`), so that a test need not know replica names:

    ready_after      virtual seconds from start to ready; `ready_after_by` per deployment
    never_ready      deployments that load for ever; with `silent` also without a sign of life
    fail_start       deployment, or a word of the command line → the runtime's words: it can never be started (no such
                     device), the thing stays `created`
    answers          deployment → what its ready engine says of itself: JSON by path
    works_until      deployment → the virtual second until which its engine works on a request of somebody's
    mute             deployments whose engine does not tell what it works on
    exits            deployment → Exit: the engine ends at once after each start (a bad model)
    exits_on         word → Exit: so does an engine that has this word in its command line (a bad parameter)
    memory_bytes     what all running replicas may use together; `memory_use` per deployment, else the declared limit;
                     `peak_memory_bytes` is the most that ever was asked for at one time
    says             deployment → the lines its engine logs at each start
    gpus             device id → bytes it has; a replica takes of each what its placement label claims, and dies of
                     memory when a device is over; `gpu_others` are bytes that strangers use of one,
                     `peak_gpu_bytes` the most that ever was used of one
    reachable        False: every call raises RuntimeUnreachable
    missing_files    host paths that do not exist; `files` gives the others a content

`networks` are those of stacks, by name: made with the first container, gone with the last that is removed by us.
Counters: `calls` holds (verb, name) of every mutating call in order, `lists` how often the world was listed, `asked`
how often an engine was asked what it loaded.
`told` holds every event in order, for tests that hand them on themselves.
Acts of the outside world: `crash`, `kill`, `vanish`, `put_foreign`, `put_serving`, `request`.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from nexus_ctl.errors import NameInUse, NotFound, Refused, RuntimeUnreachable, Terminal
from nexus_ctl.resources.adoption import Candidate
from nexus_ctl.resources.busy import BusySignal
from nexus_ctl.resources.device import Device, DeviceList, GpuUse, Holding
from nexus_ctl.resources.launch import HOST, PORT, LaunchSpec, Limits, ReadyProbe
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.placed import Placed
from nexus_ctl.resources.replica import Exit, Health, ObservedReplica, Replica, ReplicaState
from nexus_ctl.runtimes.port import Capabilities
from nexus_ctl.runtimes.watch import Feed, ReplicaEvent, Watch
from tests.fakes.clock import FakeClock
from tests.fakes.ids import FakeIds

HOST_CPUS = 8
ABORTED = Exit(134, 6)
MIB = 1024 * 1024
SERVED = "/srv/smol.gguf"
SERVING: dict[str, Any] = {
    "spec": {"model": "m", "engine": {"llamaCpp": {"contextSize": 2048, "threads": {"generation": 1}}}},
    "files": {"spec.model": SERVED},
}
"""What `put_serving` puts there, as a Deployment."""


@dataclass
class Thing:
    """Something in the fake world. `owner` is None for a foreign one, which then has no launch either."""

    name: str
    runtime_id: str
    owner: Ownership | None
    launch: LaunchSpec | None
    limits: Limits = Limits()
    state: ReplicaState = ReplicaState.CREATED
    exit: Exit | None = None
    address: str = ""
    started_at: datetime | None = None
    started: float = 0.0
    pid: int | None = None
    ended_at: datetime | None = None
    deaf: bool = False
    paused: bool = False
    hung: bool = False
    """Whether it runs and answers no probe any more."""
    candidate: Candidate | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def deployment(self) -> str:
        return self.owner.name if self.owner else ""


class FakeFeed:
    """Events as they are told, until closed."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[ReplicaEvent | None] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[ReplicaEvent]:
        while (event := self.events.get()) is not None:
            yield event

    def close(self) -> None:
        self.events.put(None)


class FakeRuntime:
    """See the module."""

    def __init__(
        self,
        clock: FakeClock,
        instance: str = "install-1",
        *,
        ready_after: float = 0.0,
        memory_bytes: int | None = None,
        capabilities: Capabilities | None = None,
    ) -> None:
        self.clock = clock
        self.instance = instance
        self.ready_after = ready_after
        self.ready_after_by: dict[str, float] = {}
        self.never_ready: set[str] = set()
        self.silent: set[str] = set()
        self.fail_start: dict[str, str] = {}
        self.exits: dict[str, Exit] = {}
        self.exits_on: dict[str, Exit] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.works_until: dict[str, float] = {}
        self.mute: set[str] = set()
        self.memory_bytes = memory_bytes
        self.memory_use: dict[str, int] = {}
        self.peak_memory_bytes = 0
        self.says: dict[str, tuple[str, ...]] = {}
        self.gpus: dict[str, int] = {}
        self.gpu_others: dict[str, int] = {}
        self.gpu_holders: tuple[Holding, ...] = ()
        self.peak_gpu_bytes: dict[str, int] = {}
        self.reachable = True
        self.files: dict[str, str] = {}
        self.missing_files: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.lists = 0
        self.things: dict[str, Thing] = {}
        self.feeds: list[FakeFeed] = []
        self.adopted: dict[str, str] = {}
        self.networks: set[str] = set()
        self.told: list[ReplicaEvent] = []
        self._capabilities = capabilities or Capabilities(
            driver="fake", fractional_cpu=True, gpus=False, images=False, adopts=True
        )
        self._ids = FakeIds("runtime")
        self._starts = 0
        self._next_port = 20000
        self._next_pid = 100

    # the port

    def capabilities(self) -> Capabilities:
        self._reach()
        return self._capabilities

    def list(self) -> tuple[ObservedReplica, ...]:
        self._reach()
        self.lists += 1
        ours = [t for t in self.things.values() if t.owner and t.owner.instance == self.instance]
        return tuple(_observed(t) for t in sorted(ours, key=lambda t: t.name))

    def inspect(self, name: str) -> ObservedReplica | None:
        self._reach()
        thing = self.things.get(name)
        return _observed(thing) if thing else None

    def candidate(self, name: str) -> Candidate | None:
        self._reach()
        thing = self.things.get(name)
        if thing is None:
            return None
        return replace(
            thing.candidate or Candidate(_observed(thing), refused=f"{name} publishes no port"),
            replica=_observed(thing),
        )

    def create(self, replica: Replica) -> None:
        self._mutate("create", replica.name)
        self._check_limits(replica.launch.limits, Terminal)
        if replica.launch.gpus is not None and not self._capabilities.gpus:
            raise Terminal(f"{replica.name}: no GPUs here")
        for mount in replica.launch.mounts:
            if not mount.source or mount.source in self.missing_files:
                raise Terminal(f"{replica.name}: there is no file {mount.source!r} for {mount.target}")
        thing = Thing(replica.name, self._ids.hex(6), replica.owner, replica.launch, replica.launch.limits)
        if self.things.setdefault(replica.name, thing) is not thing:
            raise NameInUse(f"{replica.name} exists")
        if self._capabilities.images:
            self.networks.add(replica.owner.set)

    def start(self, name: str, secrets: Mapping[str, str]) -> None:
        self._mutate("start", name)
        thing = self._thing(name)
        if thing.state is ReplicaState.RUNNING:
            return
        if thing.state is ReplicaState.DEAD or thing.launch is None:
            raise Refused(f"{name} can not be started")
        missing = sorted(set(thing.launch.secret_env) - set(secrets))
        if missing:
            raise Refused(f"{name}: no value for the secret {', '.join(missing)}")
        told = (self.fail_start[key] for key in (thing.deployment, *thing.launch.argv) if key in self.fail_start)
        if words := next(told, ""):
            thing.exit = Exit(127, error=words)
            raise Terminal(f"{name}: {words}")
        if thing.launch.argv[0].startswith("no-such"):
            thing.exit = Exit(127, error=f"there is no program {thing.launch.argv[0]!r}")
            raise Refused(f"{name}: {thing.exit.error}")
        self._run(thing, secrets)

    def stop(self, name: str, grace_seconds: float) -> None:
        self._mutate("stop", name)
        thing = self._thing(name)
        if thing.state is ReplicaState.RUNNING:
            if thing.deaf:
                self.clock.sleep(grace_seconds)
            self._end(thing, Exit(137, 9) if thing.deaf else Exit(0))

    def resume(self, name: str) -> None:
        self._mutate("resume", name)
        thing = self._thing(name)
        if thing.paused:
            thing.paused = False
            self._tell(thing, "unpause")

    def remove(self, name: str) -> None:
        self._mutate("remove", name)
        if self._thing(name).state is ReplicaState.RUNNING:
            raise Refused(f"{name} is running")
        owner = self.things.pop(name).owner
        if owner is not None:
            self._leave_network(owner.set)

    def sweep(self, set_name: str) -> None:
        self._mutate("sweep", set_name)
        self._leave_network(set_name)

    def adopt(self, name: str, runtime_id: str, owner: Ownership) -> None:
        self._mutate("adopt", name)
        thing = self.things.get(name)
        if thing is None or thing.runtime_id != runtime_id:
            raise NotFound(f"there is no {name} of the id {runtime_id} any more")
        if thing.owner is not None and not thing.owner.same_make(owner):
            raise Refused(f"{name} belongs to {thing.owner.kind}/{thing.owner.name}")
        thing.owner = thing.owner or owner
        self.adopted[name] = runtime_id

    def update(self, name: str, limits: Limits) -> None:
        self._mutate("update", name)
        thing = self._thing(name)
        if thing.state is ReplicaState.DEAD:
            raise Refused(f"{name} is dead")
        self._check_limits(limits, Refused)
        thing.limits = limits

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        self._reach()
        thing = self._thing(name)
        lines = self._lines(thing)
        yield from lines if tail is None else lines[len(lines) - tail if tail < len(lines) else 0 :]
        seen = len(lines)
        while follow and self.things.get(name) is thing:
            running = thing.state is ReplicaState.RUNNING
            lines = self._lines(thing)
            yield from lines[seen:]
            seen = len(lines)
            if not running:
                return
            self.clock.sleep(0.1)

    def progress(self, name: str) -> str:
        self._reach()
        lines = self._lines(self._thing(name))
        return str(len(lines)) if lines else ""

    def watch(self) -> Watch:
        def open_feed(since_ns: int) -> Feed:
            self.feeds.append(FakeFeed())
            return self.feeds[-1]

        return Watch(open_feed, lambda: self.reachable)

    # the prober

    def look(self, address: str, probe: ReadyProbe, key: str = "") -> Health:
        thing = next((t for t in self.things.values() if t.address == address and address), None)
        if thing is None or thing.paused or thing.hung:
            return Health.DOWN
        return Health.READY if self.clock.monotonic() >= self._ready_at(thing) else Health.LOADING

    def ask(self, address: str, paths: Sequence[str], timeout_seconds: float, key: str = "") -> Mapping[str, Any]:
        thing = next((t for t in self.things.values() if t.address == address and address), None)
        if thing is None or not paths or not admits(thing, key):
            return {}
        self.asked += 1
        told = self.answers.get(thing.deployment, {})
        return {path: told[path] for path in paths if path in told}

    def open_requests(self, address: str, signal: BusySignal, timeout_seconds: float, key: str = "") -> int | None:
        thing = next((t for t in self.things.values() if t.address == address and address), None)
        if thing is None or thing.deployment in self.mute or (thing.launch and thing.launch.argv[0] == "tiny"):
            return None
        if not admits(thing, key):
            return None
        return int(self.clock.monotonic() < self.works_until.get(thing.deployment, 0.0))

    # the driver

    def gpu_use(self, replicas: Sequence[ObservedReplica] = ()) -> GpuUse:
        """The devices, with what each running replica takes of them."""
        found, ours = [], {}
        for index, (device, total) in enumerate(self.gpus.items()):
            taken = {t.name: c for t in self._running() if (c := self._claims(t).get(device, 0))}
            ours[device] = {r.name: taken[r.name] for r in replicas if r.name in taken}
            used = sum(taken.values()) + self.gpu_others.get(device, 0)
            found.append(Device(device, "Fake GPU", "gpu", index, total, total - used, used))
        reason = "" if found else "the fake driver knows no GPU"
        return GpuUse(DeviceList(tuple(found), reason), ours, self.gpu_holders)

    # acts of the outside world

    def crash(self, name: str, how: Exit = ABORTED) -> None:
        """The engine ends by itself."""
        self._end(self.things[name], how)

    def kill(self, name: str) -> None:
        """Somebody else kills the engine."""
        self._end(self.things[name], Exit(137, 9))

    def pause(self, name: str) -> None:
        """Somebody else halts the engine."""
        self.things[name].paused = True
        self._tell(self.things[name], "pause")

    def vanish(self, name: str) -> None:
        """Somebody else removes the thing, running or not."""
        self._tell(self.things.pop(name), "destroy")

    def put_foreign(self, name: str, owner: Ownership | None = None) -> None:
        """Something that is not this install's bears the name, and runs."""
        self.things[name] = Thing(name, self._ids.hex(6), owner, None, state=ReplicaState.RUNNING)

    def put_serving(self, name: str, owner: Ownership | None = None, **told: Any) -> None:
        """Somebody else's engine serves under this name; `told` are fields of its `Candidate`."""
        self.things[name] = thing = Thing(name, self._ids.hex(6), owner, LaunchSpec(("llama-server",)))
        self._run(thing, {})
        thing.started -= self.ready_after
        thing.candidate = Candidate(_observed(thing), **(SERVING | told))

    def request(self, address: str, path: str) -> str:
        """GET at a running engine, with tiny's paths. Raises ConnectionError where nothing listens."""
        thing = next((t for t in self.things.values() if t.address == address and address), None)
        if thing is None:
            raise ConnectionRefusedError(address)
        if path.startswith("/say/"):
            thing.lines.append(path.removeprefix("/say/"))
        if path.startswith("/env/") and thing.launch is not None:
            return {**thing.launch.env, **thing.secrets}.get(path.removeprefix("/env/"), "")
        return "ok"

    # inner workings

    def _leave_network(self, set_name: str) -> None:
        """The stack's network goes where nobody of it is left."""
        if set_name not in {thing.owner.set for thing in self.things.values() if thing.owner}:
            self.networks.discard(set_name)

    def _reach(self) -> None:
        if not self.reachable:
            raise RuntimeUnreachable("the fake runtime was told not to answer")

    def _mutate(self, verb: str, name: str) -> None:
        self._reach()
        self.calls.append((verb, name))

    def _thing(self, name: str) -> Thing:
        if name not in self.things:
            raise NotFound(f"there is no {name}")
        thing = self.things[name]
        if thing.owner is None and self.adopted.get(name, thing.runtime_id) != thing.runtime_id:
            raise NotFound(f"{name} is another thing by now")
        return thing

    def _check_limits(self, limits: Limits, error: type[Terminal] | type[Refused]) -> None:
        cores = limits.cpu_cores
        if cores is not None and cores > HOST_CPUS:
            raise error(f"{cores} cores asked, {HOST_CPUS} there")
        if cores is not None and not self._capabilities.fractional_cpu and cores != int(cores):
            raise error(f"{cores} is not a whole number of cores")

    def _ready_at(self, thing: Thing) -> float:
        if thing.deployment in self.never_ready:
            return float("inf")
        return thing.started + self.ready_after_by.get(thing.deployment, self.ready_after)

    def _lines(self, thing: Thing) -> tuple[str, ...]:
        """What it logged; an engine that loads says one line each virtual second, unless it is silent."""
        if thing.state is not ReplicaState.RUNNING or thing.deployment in self.silent:
            return tuple(thing.lines)
        loading = min(self.clock.monotonic(), self._ready_at(thing)) - thing.started
        return (*thing.lines, *(f"loading {second}" for second in range(int(loading))))

    def _use(self, thing: Thing) -> int:
        return self.memory_use.get(thing.deployment, thing.limits.memory_bytes or 0)

    def _running(self) -> list[Thing]:
        return [thing for thing in self.things.values() if thing.state is ReplicaState.RUNNING]

    def _claims(self, thing: Thing) -> Mapping[str, int]:
        placed = Placed.from_label(thing.owner.placement) if thing.owner is not None else None
        return placed.claims if placed is not None else {}

    def _gpus_are_over(self) -> bool:
        """Whether any device is asked for more than it has; the most asked for is kept."""
        asked = {
            device: sum(self._claims(t).get(device, 0) for t in self._running()) + self.gpu_others.get(device, 0)
            for device in self.gpus
        }
        self.peak_gpu_bytes = {d: max(size, self.peak_gpu_bytes.get(d, 0)) for d, size in asked.items()}
        return any(size > self.gpus[device] for device, size in asked.items())

    def _run(self, thing: Thing, secrets: Mapping[str, str]) -> None:
        assert thing.launch is not None
        self._next_port += 1
        self._next_pid += 1
        listen = thing.launch.fixed_listen or f"127.0.0.1:{self._next_port}"
        thing.state, thing.exit, thing.ended_at = ReplicaState.RUNNING, None, None
        thing.address, thing.pid, thing.deaf = f"http://{listen}", self._next_pid, False
        self._starts += 1  # no two starts are at the same moment
        thing.started = self.clock.monotonic()
        thing.started_at = self.clock.now() + timedelta(microseconds=self._starts)
        thing.secrets = dict(secrets)
        thing.lines += self.says.get(thing.deployment, ())
        used = sum(self._use(t) for t in self._running())
        self.peak_memory_bytes = max(self.peak_memory_bytes, used)
        if self._gpus_are_over() or (self.memory_bytes is not None and used > self.memory_bytes):
            self._end(thing, Exit(137, 9, out_of_memory=True))
        elif thing.deployment in self.exits:
            self._end(thing, self.exits[thing.deployment])
        elif bad := [how for word, how in self.exits_on.items() if word in thing.launch.argv]:
            self._end(thing, bad[0])
        elif thing.launch.argv[0] == "tiny":
            self._interpret(thing, thing.launch)

    def _end(self, thing: Thing, how: Exit) -> None:
        thing.lines[:] = self._lines(thing)
        thing.state, thing.exit, thing.address, thing.pid, thing.secrets = ReplicaState.EXITED, how, "", None, {}
        thing.paused = False
        self._tell(thing, "die")
        thing.ended_at = max(self.clock.now(), thing.started_at or self.clock.now())

    def _tell(self, thing: Thing, action: str) -> None:
        if thing.owner is None:
            return
        self.told.append(ReplicaEvent(thing.name, thing.runtime_id, action, len(self.told)))
        for feed in self.feeds:
            feed.events.put(self.told[-1])

    def _interpret(self, thing: Thing, launch: LaunchSpec) -> None:
        """The words of `tests/contracts/tiny.py`."""
        host, _, port = thing.address.removeprefix("http://").rpartition(":")
        sources = {mount.target: mount.source for mount in launch.mounts}
        env = {**launch.env, **thing.secrets}
        words = iter([word.replace(HOST, host).replace(PORT, port) for word in launch.argv[1:]])
        for word in words:
            match word:
                case "lines":
                    thing.lines += [f"line {number}" for number in range(int(next(words)))]
                case "err" | "out":
                    thing.lines.append(next(words))
                case "env":
                    thing.lines.append(f"{(key := next(words))}={env.get(key, '')}")
                case "show":
                    thing.lines.append(self.files[sources[next(words)]])
                case "hog":
                    limit = thing.limits.memory_bytes
                    if limit is not None and int(next(words)) * MIB > limit:
                        return self._end(thing, Exit(137, 9, out_of_memory=True))
                case "deaf":
                    thing.deaf = True
                case "exit":
                    return self._end(thing, Exit(int(next(words))))
                case "signal":
                    number = int(next(words))
                    return self._end(thing, Exit(128 + number, number))
                case "serve":
                    return None
        return self._end(thing, Exit(0))


def admits(thing: Thing, key: str) -> bool:
    """Whether it answers a caller who bears this key."""
    name = thing.launch.key_env if thing.launch is not None else ""
    return not name or thing.secrets.get(name) == key


def _observed(thing: Thing) -> ObservedReplica:
    return ObservedReplica(
        name=thing.name,
        runtime_id=thing.runtime_id,
        owner=replace(thing.owner) if thing.owner else None,
        state=thing.state,
        address=thing.address,
        exit=thing.exit,
        started_at=thing.started_at,
        limits=thing.limits,
        pid=thing.pid,
        ended_at=thing.ended_at,
        files=tuple(sorted(mount.source for mount in thing.launch.mounts)) if thing.launch is not None else (),
        paused=thing.paused,
    )

"""What the process runtime promises beyond the contract: supervision, files, ports, environment."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from nexus_ctl.errors import Refused, Retryable, RuntimeUnreachable, Terminal
from nexus_ctl.resources.launch import HOST, PORT, LaunchSpec, Limits, ReadyProbe
from nexus_ctl.resources.replica import Exit, Health, Replica, ReplicaState
from nexus_ctl.runtimes.probe import HttpProber
from nexus_ctl.runtimes.process.limits import choose_cores
from nexus_ctl.runtimes.process.liveness import supervisor_pid
from nexus_ctl.runtimes.process.runtime import ProcessRuntime
from tests.contracts.runtime_suite import MIB, SERVE, until
from tests.nexus_ctl.runtimes.process.conftest import OWNER, a_replica, get, open_runtime, processes_of


def run(runtime: ProcessRuntime, replica: Replica) -> str:
    """Creates, starts and waits until it answers; the address."""
    runtime.create(replica)
    runtime.start(replica.name, {})
    return answering(runtime, replica.name)


def answering(runtime: ProcessRuntime, name: str = "r") -> str:
    def ready() -> str:
        seen = runtime.inspect(name)
        address = seen.address if seen else ""
        return address if HttpProber().look(address, ReadyProbe(path="/")) is Health.READY else ""

    address: str = until(ready)
    return address


def is_there(pid: int | None) -> bool:
    return Path(f"/proc/{pid}").exists()


# supervision


def test_an_engine_never_outlives_its_supervisor(runtime: ProcessRuntime, state: Path) -> None:
    run(runtime, a_replica("deaf", *SERVE))
    engine = runtime.list()[0].pid
    supervisor = supervisor_pid(state / "replicas/r")
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not is_there(engine))
    (seen,) = runtime.list()
    assert seen.state is ReplicaState.EXITED
    assert (seen.exit.code, seen.exit.signal) == (137, 9) if seen.exit else False
    runtime.start("r", {})
    assert get(answering(runtime)) == "ok"


def test_it_ends_when_its_directory_vanishes(runtime: ProcessRuntime, state: Path) -> None:
    run(runtime, a_replica(*SERVE))
    assert len(processes_of(state)) == 2
    (state / "replicas/r").rename(state / "gone")
    until(lambda: not processes_of(state))


def test_what_an_engine_leaves_behind_is_ended_with_it(runtime: ProcessRuntime, state: Path) -> None:
    script = "import subprocess,sys; print(subprocess.Popen(['sleep','600'],stdout=subprocess.DEVNULL).pid,flush=True)"
    launch = LaunchSpec(argv=(sys.executable, "-c", script))
    runtime.create(Replica("r", OWNER, launch))
    runtime.start("r", {})
    until(lambda: runtime.list()[0].state is ReplicaState.EXITED)
    child = int(next(runtime.logs("r")))
    until(lambda: not is_there(child))


def test_a_recycled_pid_is_never_taken_for_ours(runtime: ProcessRuntime, state: Path) -> None:
    run(runtime, a_replica(*SERVE))
    runtime.stop("r", 30)
    directory = state / "replicas/r"
    (directory / "exit.json").unlink()
    run_json = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps(run_json | {"pid": os.getpid()}))
    (seen,) = runtime.list()
    assert (seen.state, seen.pid, seen.address) == (ReplicaState.EXITED, None, "")
    runtime.stop("r", 0)
    runtime.remove("r")
    assert runtime.list() == ()


def test_twenty_cycles_leave_nothing(runtime: ProcessRuntime, state: Path) -> None:
    runtime.create(a_replica(*SERVE))
    open_files = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        runtime.start("r", {})
        runtime.stop("r", 30)
        (seen,) = runtime.list()
        assert seen.state is ReplicaState.EXITED
        assert processes_of(state) == []
    assert len(os.listdir("/proc/self/fd")) == open_files
    runtime.remove("r")
    assert [path.name for path in (state / "replicas").iterdir()] == [".lock"]


def test_a_second_signal_shortens_the_grace(runtime: ProcessRuntime, state: Path) -> None:
    run(runtime, a_replica("deaf", *SERVE))
    supervisor = supervisor_pid(state / "replicas/r")
    assert supervisor is not None
    (state / "replicas/r/grace").write_text("3600")
    os.kill(supervisor, signal.SIGTERM)
    runtime.stop("r", 0.1)
    assert runtime.list()[0].exit == Exit(137, 9)


# names, files, environment


@pytest.mark.parametrize("name", ["../r", ".hidden", "a/b", "", "x" * 201, "a b"])
def test_a_name_that_could_leave_the_directory_is_refused(runtime: ProcessRuntime, name: str) -> None:
    with pytest.raises(Terminal):
        runtime.create(a_replica(*SERVE, name=name))
    assert runtime.inspect(name) is None


def test_a_damaged_record_is_dead_and_not_ours(runtime: ProcessRuntime, state: Path) -> None:
    runtime.create(a_replica(*SERVE))
    (state / "replicas/r/record.json").write_text('{"half":')
    assert runtime.list() == ()
    seen = runtime.inspect("r")
    assert seen is not None
    assert (seen.state, seen.owner) == (ReplicaState.DEAD, None)
    with pytest.raises(Refused):
        runtime.start("r", {})


def test_the_engine_inherits_only_what_every_program_needs(
    runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXUS_LEAK", "leaked")
    monkeypatch.setenv("LLAMA_ARG_CTX_SIZE", "1")
    address = run(runtime, a_replica(*SERVE, env={"GIVEN": "given"}))
    assert [get(address, f"/env/{name}") for name in ("NEXUS_LEAK", "LLAMA_ARG_CTX_SIZE", "GIVEN")] == ["", "", "given"]
    assert get(address, "/env/PATH") == os.environ["PATH"]


def test_only_its_owner_may_read_a_replica(runtime: ProcessRuntime, state: Path) -> None:
    run(runtime, a_replica("out", "words", *SERVE))
    assert (state / "replicas").stat().st_mode & 0o077 == 0
    assert (state / "replicas/r").stat().st_mode & 0o077 == 0


def test_a_program_that_cannot_be_executed_is_refused_in_the_kernel_s_words(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    runtime.create(Replica("r", OWNER, LaunchSpec(argv=(str(broken),))))
    with pytest.raises(Refused, match="No such file"):
        runtime.start("r", {})
    (seen,) = runtime.list()
    assert (seen.state, seen.exit.code if seen.exit else 0) == (ReplicaState.CREATED, 127)


def test_a_full_or_unreadable_disk_is_told_in_our_words(
    runtime: ProcessRuntime, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Mock(side_effect=full))
        with pytest.raises(Retryable, match="No space left"):
            runtime.create(a_replica(*SERVE))
    assert runtime.list() == ()
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", Mock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
        with pytest.raises(RuntimeUnreachable, match="Permission denied"):
            runtime.list()
    runtime.create(a_replica(*SERVE))
    assert [path.name for path in (state / "replicas").iterdir() if path.name != ".lock"] == ["r"]


# logs


def test_logs_are_bounded_and_a_follower_misses_nothing(state: Path) -> None:
    runtime = open_runtime(state, log_bytes=4096)
    address = run(runtime, a_replica("out", "begin", *SERVE))
    following = runtime.logs("r", follow=True)
    assert next(following) == "begin"
    lines = [f"{number:04d}-" + "x" * 95 for number in range(120)]
    for line in lines:
        get(address, f"/say/{line}")
        assert next(following) == line
    kept = sum(path.stat().st_size for path in (state / "replicas/r").glob("log.*"))
    assert 2048 < kept <= 4096
    assert runtime.progress("r") == str(len("begin\n") + 101 * 120)
    for tail in (1, 7, 20):
        assert list(runtime.logs("r", tail=tail)) == lines[-tail:]
    assert list(runtime.logs("r")) == lines[-len(list(runtime.logs("r"))) :]
    assert list(runtime.logs("r", tail=1000)) == list(runtime.logs("r"))


def test_a_last_line_without_newline_is_a_line(runtime: ProcessRuntime) -> None:
    runtime.create(Replica("r", OWNER, LaunchSpec(argv=(sys.executable, "-c", "print('a'); print('b', end='')"))))
    runtime.start("r", {})
    until(lambda: runtime.list()[0].state is ReplicaState.EXITED)
    assert list(runtime.logs("r")) == ["a", "b"]
    assert list(runtime.logs("r", tail=1)) == ["b"]
    assert list(runtime.logs("r", follow=True)) == ["a", "b"]


# addresses


def test_a_fixed_address_is_kept(runtime: ProcessRuntime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    words = ("serve", HOST, PORT)
    for _ in range(2):
        if not runtime.list():
            runtime.create(a_replica(*words, fixed_listen=listen))
        runtime.start("r", {})
        assert answering(runtime) == f"http://{listen}"
        runtime.stop("r", 30)


def test_a_fixed_address_may_be_ipv6(runtime: ProcessRuntime) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as probe:
        port = probe.getsockname()[1]
    runtime.create(a_replica("out", f"{HOST}:{PORT}", "out", HOST, "exit", "0", fixed_listen=f"[::1]:{port}"))
    runtime.start("r", {})
    until(lambda: runtime.list()[0].state is ReplicaState.EXITED)
    assert list(runtime.logs("r")) == [f"[::1]:{port}", "::1"]


def test_a_fixed_address_that_is_taken_is_refused(runtime: ProcessRuntime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        runtime.create(a_replica(*SERVE, fixed_listen=listen))
        with pytest.raises(Refused, match=listen):
            runtime.start("r", {})
    (seen,) = runtime.list()
    assert seen.state is ReplicaState.CREATED
    runtime.start("r", {})
    assert get(answering(runtime)) == "ok"


def test_a_port_that_somebody_took_is_exchanged(runtime: ProcessRuntime, tmp_path: Path) -> None:
    """The first run finds its port taken (by a process that it detaches itself); the next one gets another."""
    script = tmp_path / "unlucky.py"
    script.write_text(
        "import os, socket, sys, time\n"
        "marker, port = sys.argv[1], int(sys.argv[2])\n"
        "if not os.path.exists(marker):\n"
        "    ready, tell = os.pipe()\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        thief = socket.create_server(('127.0.0.1', port))\n"
        "        open(marker, 'w').write(str(os.getpid()))\n"
        "        [os.close(n) for n in (0, 1, 2)]\n"
        "        os.write(tell, b'x')\n"
        "        time.sleep(60)\n"
        "    os.read(ready, 1)\n"
        "    sys.exit('address already in use')\n"
        "s = socket.create_server(('127.0.0.1', port))\n"
        "while True:\n"
        "    c, _ = s.accept(); c.recv(4096)\n"
        "    c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok'); c.close()\n"
    )
    marker = tmp_path / "thief"
    launch = LaunchSpec(argv=(sys.executable, str(script), str(marker), PORT))
    runtime.create(Replica("r", OWNER, launch))
    runtime.start("r", {})
    try:
        until(marker.exists)
        assert get(answering(runtime)) == "ok"
    finally:
        os.kill(int(marker.read_text()), signal.SIGKILL)


def test_placeholders_are_whole_words(runtime: ProcessRuntime) -> None:
    script = "import sys; print(sys.argv[1:])"
    words = (HOST, PORT, f"{HOST}:{PORT}", "{{port}} stays {port}", "{host}-x")
    runtime.create(Replica("r", OWNER, LaunchSpec(argv=(sys.executable, "-c", script, *words))))
    runtime.start("r", {})
    until(lambda: runtime.list()[0].state is ReplicaState.EXITED)
    (line,) = runtime.logs("r")
    port = json.loads((runtime._root / "r/run.json").read_text())["address"].rpartition(":")[2]
    assert line == str(["127.0.0.1", port, f"127.0.0.1:{port}", *words[3:]])


# limits


def test_cores_go_to_the_least_used_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    assert choose_cores(Limits(cpu_cores=2), []) == [0, 1]
    assert choose_cores(Limits(cpu_cores=2), [0, 0, 1]) == [2, 3]
    assert choose_cores(Limits(cpu_cores=3), [0, 0, 1]) == [1, 2, 3]
    assert choose_cores(Limits(), [0]) == []


def test_limits_hold_in_the_kernel(runtime: ProcessRuntime) -> None:
    run(runtime, a_replica(*SERVE, limits=Limits(cpu_cores=1, memory_bytes=200 * MIB)))
    pid = runtime.list()[0].pid
    assert pid is not None
    assert len(os.sched_getaffinity(pid)) == 1
    assert f"Max data size             {200 * MIB}" in Path(f"/proc/{pid}/limits").read_text()
    runtime.update("r", Limits(memory_bytes=300 * MIB))
    assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)
    assert f"Max data size             {300 * MIB}" in Path(f"/proc/{pid}/limits").read_text()
    runtime.update("r", Limits())
    assert "Max data size             unlimited" in Path(f"/proc/{pid}/limits").read_text()


def test_a_memory_limit_below_what_is_used_is_refused(runtime: ProcessRuntime) -> None:
    run(runtime, a_replica("hog", "64", *SERVE, limits=Limits(memory_bytes=200 * MIB)))
    with pytest.raises(Refused, match="in use already"):
        runtime.update("r", Limits(memory_bytes=32 * MIB))
    assert runtime.list()[0].limits == Limits(memory_bytes=200 * MIB)


def test_limits_of_one_that_does_not_run_count_at_its_next_start(runtime: ProcessRuntime) -> None:
    runtime.create(a_replica(*SERVE))
    runtime.update("r", Limits(memory_bytes=200 * MIB))
    runtime.start("r", {})
    answering(runtime)
    assert f"Max data size             {200 * MIB}" in Path(f"/proc/{runtime.list()[0].pid}/limits").read_text()

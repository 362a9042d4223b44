# ruff: noqa: SIM105  # contextlib is not worth its memory here
"""The supervisor: one small process beside each running engine. Run as a file, in isolated mode, without site.

It reads its order (JSON: argv, env, host, port, limits, log size) from standard input, where secrets pass in memory
only; detaches; takes the lock on `alive`; starts the engine so that the kernel kills it when the supervisor goes; says
one line of JSON on standard output; copies the engine's output to the log files; and writes how it ended. On SIGTERM
it passes the signal on and kills after the grace. When its directory vanishes it does the same of its own accord.
It is one file that imports little and nothing of nexusctl, because one of these runs for every replica.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself is not worth its memory here
    from typing import Any

    Document = dict[str, Any]

LOG_FILES = 4
"""Log files kept."""
PORT_MARK = "\0"
"""Stands for the port in the order's words; no real word can hold it."""
LOOK_SECONDS = 2.0
"""How often it looks whether its directory is still there."""
VANISHED_GRACE = 10.0
PORT_ATTEMPTS = 5
PR_SET_PDEATHSIG = 1
OUT_OF_MEMORY_WORDS = (b"MemoryError", b"bad_alloc", b"failed to allocate", b"annot allocate memory", b"out of memory")
"""How programs say that an allocation was refused; asked only where a memory limit is set."""


class Log:
    """Output of all runs as one stream of bytes, cut into files that are named by the bytes before them."""

    def __init__(self, directory: str, file_bytes: int) -> None:
        self._directory = directory
        self._file_bytes = file_bytes
        names = log_names(directory)
        last = os.path.join(directory, names[-1]) if names else ""
        self.total = int(names[-1].partition(".")[2]) + os.path.getsize(last) if names else 0
        self._file = self._open(last or self._name())
        self._room = file_bytes - (os.path.getsize(last) if names else 0)
        self.tail = b""

    def write(self, data: bytes) -> None:
        """Appends; a full disk loses output, never the engine."""
        self.tail = (self.tail + data)[-4096:]
        while data:
            if self._room <= 0:
                os.close(self._file)
                self._file, self._room = self._open(self._name()), self._file_bytes
                for name in log_names(self._directory)[:-LOG_FILES]:
                    os.unlink(os.path.join(self._directory, name))
            part, data = data[: self._room], data[self._room :]
            try:
                written = os.write(self._file, part)
            except OSError:
                return
            self.total += written
            self._room -= written

    def _name(self) -> str:
        return os.path.join(self._directory, f"log.{self.total:015d}")

    def _open(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def log_names(directory: str) -> list[str]:
    """The log files, oldest first."""
    return sorted(name for name in os.listdir(directory) if name.startswith("log."))


def main(directory: str) -> None:
    """Never returns."""
    try:
        order = json.loads(sys.stdin.buffer.read())
    except ValueError:  # half an order: whoever was to start us died
        os._exit(1)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    wake, wakened = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakened)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    lock = take_lock(directory)
    if lock is None:
        say({"state": "busy"})
        os._exit(0)
    forget(directory, "exit.json", "run.json", "grace")
    try:
        ended = supervise(directory, order, wake, lock)
    except OSError as error:
        ended = {"code": 127, "signal": 0, "outOfMemory": False, "error": str(error)}
    write_json(directory, "exit.json", {**ended, "endedAt": time.time()})
    if ended["error"]:
        say({"state": "refused", "error": ended["error"]})
    os._exit(0)


def take_lock(directory: str) -> int | None:
    """The locked file; None when another supervisor has it, or the directory went away."""
    path = os.path.join(directory, "alive")
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return file if is_there(path, file) else None


def is_there(path: str, file: int) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except OSError:
        return False


def supervise(directory: str, order: Document, wake: int, lock: int) -> Document:
    """Runs the engine to its end, on another port when somebody took the first; how it ended."""
    log = Log(directory, order["logBytes"])
    for attempt in range(PORT_ATTEMPTS):
        host, port = order["host"], order["port"] or free_port(order["host"])
        if order["port"] and is_taken(host, port):
            raise OSError(
                f"the address {joined(host, port)} is in use (by whom: ss -ltnp); free it, or declare another"
            )
        killed_before = oom_kills()
        pid, output = spawn(order, port)
        run = {"pid": pid, "address": f"http://{joined(host, port)}", "startedAt": time.time(), "cores": order["cores"]}
        write_json(directory, "run.json", run)
        if attempt == 0:
            say({"state": "running"})
            detach()
        status, asked = attend(pid, output, log, directory=directory, wake=wake, lock=lock)
        ended = describe(status)
        if ended["signal"] == signal.SIGKILL and not asked:
            ended["outOfMemory"] = oom_kills() > killed_before
        elif order["memoryBytes"] and ended["code"] and not asked:
            ended["outOfMemory"] = any(words in log.tail for words in OUT_OF_MEMORY_WORDS)
        collided = not order["port"] and ended["code"] and not asked and is_taken(host, port)
        if not collided:
            break
    return ended


def spawn(order: Document, port: int) -> tuple[int, int]:
    """Starts the engine; its pid and the reading end of its output. Raises OSError when it cannot be executed."""
    argv = [word.replace(PORT_MARK, str(port)) for word in order["argv"]]
    output, engine_output = os.pipe2(os.O_CLOEXEC)
    failure, engine_failure = os.pipe2(os.O_CLOEXEC)
    libc = ctypes.CDLL(None)
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != supervisor:
                os._exit(1)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(engine_output, 1)
            os.dup2(engine_output, 2)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if order["memoryBytes"]:
                _, most = resource.getrlimit(resource.RLIMIT_DATA)
                resource.setrlimit(resource.RLIMIT_DATA, (order["memoryBytes"], most))
            if order["cores"]:
                os.sched_setaffinity(0, order["cores"])
            os.execve(argv[0], argv, order["env"])
        except BaseException as error:
            os.write(engine_failure, f"{argv[0]}: {error}".encode())
        os._exit(127)
    os.close(engine_output)
    os.close(engine_failure)
    words = os.read(failure, 4096)
    os.close(failure)
    if words:
        os.waitpid(pid, 0)
        os.close(output)
        raise OSError(words.decode(errors="replace"))
    os.set_blocking(output, False)
    return pid, output


def attend(pid: int, output: int, log: Log, *, directory: str, wake: int, lock: int) -> tuple[int, bool]:
    """Copies output until the engine has ended; its wait status, and whether somebody asked it to end."""
    alive = os.path.join(directory, "alive")
    handle = os.pidfd_open(pid)
    waiter = select.poll()
    for file in (output, handle, wake):
        waiter.register(file, select.POLLIN)
    kill_at, asked = float("inf"), False
    while True:
        now = time.monotonic()
        ready = dict(waiter.poll(max(0.0, min(LOOK_SECONDS, kill_at - now)) * 1000))
        if output in ready and not copy(output, log):
            waiter.unregister(output)
        if handle in ready:
            break
        stopped = wake in ready and bool(os.read(wake, 64))
        if (stopped or not is_there(alive, lock)) and not asked:
            asked, kill_at = True, time.monotonic() + read_grace(directory)
            os.kill(pid, signal.SIGTERM)
            os.killpg(pid, signal.SIGCONT)  # who was halted hears nothing
        elif stopped:
            kill_at = min(kill_at, time.monotonic() + read_grace(directory))
        if time.monotonic() >= kill_at:
            kill_at = float("inf")
            kill_group(pid)
    kill_group(pid)
    copy(output, log)
    _, status = os.waitpid(pid, 0)
    os.close(handle)
    os.close(output)
    return status, asked


def copy(output: int, log: Log) -> bool:
    """Copies what is there, at most 16 MiB so that a torrent cannot deafen us; False at the end of the stream."""
    for _ in range(256):
        try:
            data = os.read(output, 65536)
        except BlockingIOError:
            return True
        if not data:
            return False
        log.write(data)
    return True


def kill_group(pid: int) -> None:
    """Ends the engine and whatever it started and left behind."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def describe(status: int) -> Document:
    """A wait status as `exit.json` holds it; the code follows 128 + signal."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = 128 + number if number else os.WEXITSTATUS(status)
    return {"code": code, "signal": number, "outOfMemory": False, "error": ""}


def read_grace(directory: str) -> float:
    """Seconds that stop allows."""
    try:
        with open(os.path.join(directory, "grace"), encoding="ascii") as file:
            return float(file.read())
    except (OSError, ValueError):
        return VANISHED_GRACE


def oom_kills() -> int:
    """How often the kernel's OOM killer struck in our control group, or where that is unreadable, at all."""
    try:
        with open("/proc/self/cgroup", encoding="ascii") as file:
            groups = dict(line.rstrip("\n").split(":", 2)[1:] for line in file)
    except (OSError, ValueError):
        groups = {}
    counters = [
        f"/sys/fs/cgroup/memory{groups.get('memory', '')}/memory.oom_control",
        f"/sys/fs/cgroup{groups.get('', '')}/memory.events",
        "/proc/vmstat",
    ]
    for path in counters:
        try:
            with open(path, encoding="ascii") as file:
                return int(next(line for line in file if line.startswith("oom_kill ")).split()[1])
        except (OSError, StopIteration):
            continue
    return 0


def joined(host: str, port: object) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def free_port(host: str) -> int:
    """A port that nobody listens on at this moment."""
    import _socket  # the socket module would double what we import

    probe = _socket.socket(_socket.AF_INET6 if ":" in host else _socket.AF_INET)
    probe.bind((host, 0))
    port: int = probe.getsockname()[1]
    probe.close()
    return port


def is_taken(host: str, port: int) -> bool:
    """Whether an engine could not listen there."""
    import _socket

    probe = _socket.socket(_socket.AF_INET6 if ":" in host else _socket.AF_INET)
    probe.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    try:
        probe.bind((host, port))
    except OSError:
        return True
    finally:
        probe.close()
    return False


def say(answer: Document) -> None:
    """One line to whoever started us, if still there."""
    try:
        os.write(1, json.dumps(answer).encode() + b"\n")
    except OSError:
        pass


def detach() -> None:
    """Lets go of the starter's pipes; standard error stays `supervisor.err`."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


def forget(directory: str, *names: str) -> None:
    """Removes files of an earlier run."""
    for name in names:
        try:
            os.unlink(os.path.join(directory, name))
        except FileNotFoundError:
            pass


def write_json(directory: str, name: str, document: Document) -> None:
    """Atomically; nothing when the directory went away."""
    fresh = os.path.join(directory, f".{name}")
    try:
        with open(fresh, "w", encoding="utf-8") as file:
            json.dump(document, file)
        os.rename(fresh, os.path.join(directory, name))
    except FileNotFoundError:
        pass


if __name__ == "__main__":
    main(sys.argv[1])

"""From a launch specification to a supervised engine: the order for the supervisor, and the supervisor's start.

Called by `ProcessRuntime.start`. The rule: an order holds the values of secrets, so it goes through a pipe and is
never written down.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nexus_ctl.errors import Refused, Retryable
from nexus_ctl.resources.launch import HOST, PORT, LaunchSpec, renamed
from nexus_ctl.runtimes.process import supervisor

LOOPBACK = "127.0.0.1"
KEPT_ENV = re.compile(r"PATH|HOME|USER|LOGNAME|TZ|TMPDIR|LANG|LC_[A-Z]+|LD_LIBRARY_PATH|SSL_CERT_(FILE|DIR)")
"""What an engine inherits. The rest of its environment is what the Deployment declares, as in a container."""
START_SECONDS = 60.0
"""How long a supervisor may take to start an engine's process (not to load the model)."""


def order_of(
    launch: LaunchSpec, secrets: Mapping[str, str], *, argv: Sequence[str], cores: Sequence[int], log_bytes: int
) -> dict[str, object]:
    """What the supervisor is told. `argv` is the launch's with its program resolved, `cores` empty for all of them."""
    host, _, port = launch.fixed_listen.rpartition(":")
    host = host.strip("[]") or LOOPBACK
    inherited = {name: value for name, value in os.environ.items() if KEPT_ENV.fullmatch(name)}
    return {
        "argv": [_fill(word, host, launch) for word in argv],
        "env": {**inherited, **launch.env, **secrets},
        "host": host,
        "port": int(port or 0),
        "cores": cores,
        "memoryBytes": launch.limits.memory_bytes or 0,
        "logBytes": log_bytes // supervisor.LOG_FILES,
    }


def _fill(word: str, host: str, launch: LaunchSpec) -> str:
    """The word with its placeholders filled; the port stays a mark, for the supervisor chooses it."""
    mark = supervisor.PORT_MARK
    listen = {HOST: host, PORT: mark, f"{HOST}:{PORT}": supervisor.joined(host, mark)}
    if word in listen:
        return listen[word]
    for mount in launch.mounts:
        word = renamed(word, mount.target, mount.source)
    return word


def supervise(directory: Path, order: Mapping[str, object]) -> None:
    """Starts the supervisor and waits for its word. Raises Refused with the reason when the engine does not run."""
    with (directory / "supervisor.err").open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={},
            start_new_session=True,
        )
    try:
        said, _ = process.communicate(json.dumps(order).encode(), timeout=START_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Retryable(f"{directory.name}: its supervisor said nothing for {START_SECONDS:g} s") from error
    answer = json.loads(said or b'{"state": "refused", "error": "its supervisor died"}')
    if answer["state"] == "refused":
        raise Refused(f"{directory.name}: {answer['error']}")

"""An engine behind ssh, as docker reaches it: a socket of this process, each of whose connections becomes the two ends
of one `ssh HOST docker system dial-stdio`.

Called by `connection.py`. The connection itself is handed to ssh, so no byte passes through here, and when either side
ends, so does the other. The rules: the user's own ssh, with their configuration, agent and known hosts, and never a
question at the terminal; an engine of another machine is refused before the first call to it (`address.py`), by asking
over there which boot of which kernel that is.
"""

from __future__ import annotations

import atexit
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from nexus_ctl.errors import RuntimeUnreachable
from nexus_ctl.runtimes.docker.address import elsewhere

BOOT = Path("/proc/sys/kernel/random/boot_id")
SECONDS = 30
DIAL = ("docker", "system", "dial-stdio")
BACKLOG = 64


def command(url: str) -> list[str]:
    """How to reach `ssh://[user@]host[:port]`; what is to run there follows."""
    parts = urlsplit(url)
    user = ["-l", parts.username] if parts.username else []
    port = ["-p", str(parts.port)] if parts.port else []
    return [
        "ssh",
        "-T",
        "-o",
        "BatchMode=yes",
        "-o",
        f"ConnectTimeout={SECONDS}",
        *user,
        *port,
        "--",
        parts.hostname or "",
    ]


@cache
def bridge(url: str) -> str:
    """The local address by which that engine is reached, for as long as this process lives.

    Raises RuntimeUnreachable (ssh does not get there), UsageError (another machine).
    """
    try:
        asked = subprocess.run(
            [*command(url), "cat", str(BOOT)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=2 * SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeUnreachable(f"{url}: {error}", hint="is ssh installed, and the machine up?") from error
    if asked.returncode != 0:
        words = " ".join(asked.stderr.split())
        raise RuntimeUnreachable(f"{url}: {words}", hint=f"try it by hand:\n{' '.join(command(url))} docker version")
    if asked.stdout.strip() != this_boot():
        raise elsewhere(url)
    folder = Path(tempfile.mkdtemp(prefix="nexusctl-ssh."))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "engine.sock"))
    listener.listen(BACKLOG)
    dialled: list[subprocess.Popen[bytes]] = []
    atexit.register(_end, folder, listener, dialled)
    threading.Thread(target=_serve, args=(url, listener, dialled), name="ssh", daemon=True).start()
    return f"unix://{folder}/engine.sock"


def this_boot() -> str:
    """The kernel's id of this boot of this machine; no two are alike."""
    return BOOT.read_text(encoding="ascii").strip()


def _serve(url: str, listener: socket.socket, dialled: list[subprocess.Popen[bytes]]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # closed at the end
            return
        with connection:
            dialled[:] = [one for one in dialled if one.poll() is None]
            ends = connection.fileno()
            # a session of its own: Ctrl-C is for nexusctl, which then still has things to tell the engine
            one = subprocess.Popen([*command(url), *DIAL], stdin=ends, stdout=ends, start_new_session=True)
            dialled.append(one)


def _end(folder: Path, listener: socket.socket, dialled: list[subprocess.Popen[bytes]]) -> None:
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for one in dialled:
        one.terminate()
        one.wait()
    shutil.rmtree(folder, ignore_errors=True)

"""Secrets: read where the manifest points, at the last moment, and fingerprinted so that a change can be seen (R29).

Called by execution just before a value is handed to a runtime or a source. A value is never written, logged or put
into an error; errors name the reference. What may be stored is the fingerprint: keyed, so that it says nothing about
the value to anyone without the install's key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from nexus_ctl.errors import DeadlineExceeded, Terminal
from nexus_ctl.resources.secret import ValueFrom

EXEC_SECONDS = 30.0
_KEY_BYTES = 32

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def run_quietly(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run without a shell or standard input; output captured, never shown."""
    return subprocess.run(
        list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=EXEC_SECONDS, check=False
    )


def resolve(value_from: ValueFrom, *, environ: Mapping[str, str], run: Run = run_quietly) -> str:
    """The value behind a reference. Raises Terminal, naming the reference, when there is none or it is empty."""
    if value_from.env is not None:
        return _present(environ.get(value_from.env), f"environment variable {value_from.env}", "is not set")
    if value_from.file is not None:
        return _from_file(value_from.file)
    return _from_command(value_from.exec or [], run)


def sendable(key: str) -> str:
    """`key`, if a header can bear it and engines take it for one key. Raises Terminal, which does not show it."""
    if not key.isascii() or not key.isprintable() or " " in key or "," in key:
        raise Terminal(
            "a key for an engine is one word of printable ASCII characters without a comma",
            hint="make another key, for example  openssl rand -hex 32",
            code="unusable-key",
        )
    return key


def fingerprint(key: bytes, values: Mapping[str, str]) -> str:
    """16 hex digits that change when a name or value does (HMAC-SHA-256 under `key`); "" for no values.

    Lengths are part of what is hashed, so that no two sets of values run together to the same bytes.
    """
    if not values:
        return ""
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in (part.encode() for name in sorted(values) for part in (name, values[name])):
        mac.update(len(part).to_bytes(8, "big") + part)
    return mac.hexdigest()[:16]


def instance_key(state_dir: Path) -> bytes:
    """The install's random key, made on first use in a file that only its owner may read.

    Two processes that begin at once end up with the same key: the file appears whole, and the first one stays.
    """
    path = state_dir / "secret.key"
    try:
        return _key(path)
    except FileNotFoundError:
        state_dir.mkdir(parents=True, exist_ok=True)
    draft = state_dir / f"secret.key.{secrets.token_hex(8)}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first; its key counts
            os.link(draft, path)
    finally:
        draft.unlink()
    return _key(path)


def _key(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise Terminal(f"{path} is damaged", hint="remove it; secrets then count as changed once", code="secret-key")
    return key


def _from_file(name: str) -> str:
    path = Path(name).expanduser()
    what = f"secret file {path}"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise _unreadable(what, error.strerror or type(error).__name__) from error
    except UnicodeDecodeError:
        raise _unreadable(what, "is not UTF-8 text") from None  # the cause would hold the bytes
    return _present(text, what, "is empty")


def _from_command(command: Sequence[str], run: Run) -> str:
    """Only the program is named in errors: arguments and output may hold what they should not."""
    what = f"secret command {command[0]}"
    try:
        done = run(command)
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(f"{what}: no answer in {EXEC_SECONDS:g} s") from None  # it holds the output so far
    except OSError as error:
        raise _unreadable(what, error.strerror or type(error).__name__) from error
    except UnicodeDecodeError:
        raise _unreadable(what, "did not print UTF-8 text") from None
    if done.returncode != 0:
        raise _unreadable(what, f"ended with exit code {done.returncode}")
    return _present(done.stdout, what, "printed nothing")


def _present(text: str | None, what: str, otherwise: str) -> str:
    """`text` less one trailing newline."""
    value = (text or "").removesuffix("\n").removesuffix("\r")
    if not value:
        raise _unreadable(what, otherwise)
    return value


def _unreadable(what: str, why: str) -> Terminal:
    return Terminal(f"{what}: {why}", code="secret-unreadable", hint="a secret is read where valueFrom points")

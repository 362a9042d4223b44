"""Secrets are read where the manifest points; a value appears in no error, and a fingerprint gives none away."""

from __future__ import annotations

import stat
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexus_ctl.errors import ActionError, DeadlineExceeded, Terminal
from nexus_ctl.execution.secrets import fingerprint, instance_key, resolve
from nexus_ctl.resources.secret import ValueFrom

CANARY = "canary-5d1f-never-shown"
KEY = b"k" * 32


def printing(code: str) -> ValueFrom:
    return ValueFrom(exec=[sys.executable, "-c", code])


def test_from_the_environment() -> None:
    assert resolve(ValueFrom(env="HF_TOKEN"), environ={"HF_TOKEN": CANARY}) == CANARY


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_from_a_file_less_one_newline(tmp_path: Path, ending: str) -> None:
    (tmp_path / "token").write_bytes((CANARY + ending).encode())
    assert resolve(ValueFrom(file=str(tmp_path / "token")), environ={}) == CANARY


def test_only_one_newline_goes(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" a\n\n")
    assert resolve(ValueFrom(file=str(tmp_path / "token")), environ={}) == " a\n"


def test_from_a_command_without_a_shell() -> None:
    assert resolve(printing(f"print('$HOME {CANARY}')"), environ={}) == f"$HOME {CANARY}"


def silent(command: object) -> subprocess.CompletedProcess[str]:
    raise subprocess.TimeoutExpired(["pass"], 30, output=CANARY.encode())


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        (ValueFrom(env="NOT_SET"), "environment variable NOT_SET: is not set"),
        (ValueFrom(env="EMPTY"), "environment variable EMPTY: is not set"),
        (ValueFrom(file="/nowhere/token"), "secret file /nowhere/token: No such file or directory"),
        (ValueFrom(exec=["/nowhere/pass", CANARY]), "secret command /nowhere/pass: No such file or directory"),
        (printing(f"import sys; print('{CANARY}'); sys.exit(3)"), f"secret command {sys.executable}: ended with exit"),
        (printing(""), f"secret command {sys.executable}: printed nothing"),
        (printing(f"import sys; sys.stdout.buffer.write(b'\\xff{CANARY}')"), "did not print UTF-8 text"),
    ],
)
def test_an_error_names_the_reference_and_never_the_value(reference: ValueFrom, named: str) -> None:
    with pytest.raises(Terminal, match=named) as caught:
        resolve(reference, environ={"EMPTY": "", "OTHER": CANARY})
    assert CANARY not in everything_shown(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff" + CANARY.encode())
    with pytest.raises(Terminal, match="is not UTF-8") as caught:
        resolve(ValueFrom(file=str(tmp_path / "token")), environ={})
    assert CANARY not in everything_shown(caught.value)


def test_a_command_that_does_not_end() -> None:
    with pytest.raises(DeadlineExceeded, match="secret command pass") as caught:
        resolve(ValueFrom(exec=["pass"]), environ={}, run=silent)
    assert CANARY not in everything_shown(caught.value)


def everything_shown(error: ActionError) -> str:
    return repr(error) + error.detail + error.hint + "".join(traceback.format_exception(error, limit=0))


def test_a_fingerprint_changes_with_name_value_and_key_only() -> None:
    known = fingerprint(KEY, {"A": "1", "B": "2"})
    assert known == fingerprint(KEY, {"B": "2", "A": "1"})
    assert len(known) == 16
    others = [
        fingerprint(KEY, {"A": "1", "B": "3"}),
        fingerprint(KEY, {"A": "1", "C": "2"}),
        fingerprint(KEY, {"A": "1B2"}),
        fingerprint(b"j" * 32, {"A": "1", "B": "2"}),
    ]
    assert len({known, *others}) == 5
    assert fingerprint(KEY, {}) == ""


def test_the_key_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    state = tmp_path / "new" / ".nexus"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: instance_key(state), range(16)))
    assert len(keys) == 1
    assert instance_key(state) in keys
    assert [path.name for path in state.iterdir()] == ["secret.key"]
    assert stat.S_IMODE((state / "secret.key").stat().st_mode) == 0o600


def test_a_damaged_key_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_bytes(b"short")
    with pytest.raises(Terminal, match="damaged"):
        instance_key(tmp_path)

"""The program: the table of commands, exit codes by error class, the forms of errors, and what start-up imports."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from nexus_ctl import errors
from nexus_ctl.cli import main
from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.table import COMMANDS
from nexus_ctl.errors import Bug, ManifestError, NexusError
from tests.fakes.workspace import CommandLine

HEAVY = ("docker", "requests", "sqlalchemy", "fastapi", "httpx", "huggingface_hub", "rich", "psutil", "alembic")
EXPECTED = {
    "ManifestError": 2, "UsageError": 2, "PlanError": 1, "StalePlan": 3, "Conflict": 3, "Blocked": 6, "MachineError": 1,
    "LockBusy": 7, "RuntimeUnreachable": 8, "StoreError": 1, "ActionError": 4, "Retryable": 4, "Terminal": 4,
    "NameInUse": 4, "NotFound": 4, "Refused": 4, "DeadlineExceeded": 5, "IntegrityError": 4, "Interrupted": 130,
    "Bug": 1, "NexusError": 1,
}  # fmt: skip


def classes() -> list[type[NexusError]]:
    return [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, NexusError)]


def test_every_error_class_has_its_exit_code() -> None:
    made = {
        one.__name__: main.exit_code(ManifestError(()) if one is ManifestError else one("detail")) for one in classes()
    }
    assert made == EXPECTED


def run_raising(monkeypatch: pytest.MonkeyPatch, error: BaseException, capsys: Any) -> tuple[int, str]:
    def fail(*words: str) -> None:
        raise error

    monkeypatch.setattr(main.program, "main", lambda *args, **kwargs: fail())
    return main.run(["get", "all"]), capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            errors.StoreError("state.db: disk full", hint="make room"),
            1,
            "error[store]: the state database cannot be used\n  state.db: disk full\nhint: make room\n",
        ),
        (
            errors.LockBusy("held\nby pid 7", hint="nexusctl status"),
            7,
            """\
error[lock-busy]: another nexusctl is at work in this state directory
  held
  by pid 7
hint: run
  nexusctl status
""",
        ),
        (
            errors.Conflict("x \x1b[31m is there", code="unowned-exists"),
            3,
            "error[unowned-exists]: something that is not ours is in the way\n  x \ufffd[31m is there\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.Abort(), 130, "interrupted\n"),
    ],
)
def test_an_error_is_printed_once_in_one_form(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, error: BaseException, code: int, text: str
) -> None:
    assert run_raising(monkeypatch, error, capsys) == (code, text)


def test_what_nobody_raised_on_purpose_is_a_bug_with_a_trace(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    code, text = run_raising(monkeypatch, ZeroDivisionError("by zero"), capsys)
    assert code == 1
    assert text.startswith("Traceback")
    assert text.endswith(f"error[bug]: {Bug.summary}\n  ZeroDivisionError: by zero\n")


def test_usage_errors_point_to_help(nexusctl: CommandLine) -> None:
    done = nexusctl("plan", "--bogus")
    assert done.code == 2
    assert done.err.endswith("hint: run\n  nexusctl plan --help\n")
    assert 'there is no command "aply"; did you mean "apply"?' in nexusctl("aply").err
    assert nexusctl("wait", "x/y", "--timeout", "soon").code == 2


@pytest.mark.parametrize(("words", "code"), [(["diff"], 2), (["plan", "--detailed-exitcode"], 1), (["plan"], 2)])
def test_two_commands_keep_the_codes_people_know(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str], code: int
) -> None:
    monkeypatch.setattr(main.program, "main", lambda *args, **kwargs: (_ for _ in ()).throw(errors.UsageError("x")))
    assert main.run(words) == code


def test_every_command_of_the_table_is_there_under_its_name_with_help() -> None:
    context = click.Context(main.program)
    for name, row in COMMANDS.items():
        command = main.program.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help
        assert row.help.endswith(".")
        missing = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
        assert missing == [], name


def test_every_command_is_tested_here() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in COMMANDS if f'("{name}"' not in text] == []


def test_help_lists_every_command_from_the_table_alone() -> None:
    out = started("--help").stdout
    assert all(f"  {name}" in out for name in COMMANDS)


def started(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A real start, after which it says on stderr what was imported."""
    script = (
        "import sys; from nexus_ctl.cli.main import run; code = run(sys.argv[1:]); "
        "print('\\n'.join(sorted(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, cwd=cwd, check=False, timeout=60
    )


@pytest.mark.parametrize("words", [["--help"], ["version"], ["plan", "--help"], ["completion", "bash"]])
def test_help_and_version_import_click_and_little_else(words: list[str]) -> None:
    done = started(*words)
    assert done.returncode == 0
    loaded = set(done.stderr.split())
    assert loaded.isdisjoint({*HEAVY, "pydantic", "yaml", "nexus_ctl.resources", "controllers"})


def test_validate_imports_neither_store_nor_runtime_nor_network(nexusctl: CommandLine, tmp_path: Path) -> None:
    done = started("validate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    assert loaded.isdisjoint({*HEAVY, "controllers", "nexus_ctl.store", "nexus_ctl.runtimes", "urllib.request"})


def test_whoever_stops_reading_ends_us_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "nexus_ctl.cli.main", "explain", "deployment", "--recursive"]
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_colour_only_on_a_terminal_and_never_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    from nexus_ctl.cli.terminal import style_for

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert style_for(io.StringIO())("error", "x") == "x"
    assert style_for(Terminal())("error", "x") == "\x1b[31m\x1b[1mx\x1b[0m"
    assert style_for(Terminal())("no-such-role", "x") == "x\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert style_for(Terminal())("error", "x") == "x"


def test_the_command_line_is_recorded_as_typed() -> None:
    assert Invocation(("apply", "--yes")).command == "nexusctl apply --yes"


def test_without_a_word_the_commands_are_shown(nexusctl: CommandLine) -> None:
    done = nexusctl.ok()
    assert (done.err, done.out) == ("", nexusctl.ok("--help").out)

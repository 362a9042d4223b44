"""The program: finds the command, runs it, prints what went wrong, picks the exit code. Nothing else does either.

Start-up is a feature: this module and what it imports cost little more than click. Errors are shown by their class,
from the table below; views and everything slow come in only when there is something to show.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn, cast

import click

from nexus_ctl import __version__
from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.table import COMMANDS

if TYPE_CHECKING:
    from nexus_ctl.errors import NexusError

PROGRAM = "nexusctl"
BUG = 1
INTERRUPTED = 130
BROKEN_PIPE = 141
EXIT_CODES: Mapping[str, int] = {
    "ManifestError": 2,
    "UsageError": 2,
    "StalePlan": 3,
    "Conflict": 3,
    "DeadlineExceeded": 5,
    "ActionError": 4,
    "Blocked": 6,
    "LockBusy": 7,
    "RuntimeUnreachable": 8,
    "Interrupted": INTERRUPTED,
    "NexusError": 1,
}
"""Error class → exit code (R31); the nearest class of the error's own line of descent counts."""


class ReaderGone(Exception):
    """Whoever read our output has gone. click would make a plain 1 of the BrokenPipeError."""


class Commands(click.Group):
    """The group that reads its commands from the table and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        return cast("click.Command", import_module(f"nexus_ctl.cli.commands.{row.module or cmd_name}").command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            raise click.UsageError(f'there is no command "{args[0]}"{hint}', ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise ReaderGone from error
        return code

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(row.section for row in COMMANDS.values()):
            with formatter.section(section):
                rows = [(name, row.help) for name, row in COMMANDS.items() if row.section == section]
                formatter.write_dl(rows)


@click.group(
    cls=Commands,
    subcommand_metavar="COMMAND [ARGS]...",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Manifests are the only truth: write YAML, then `nexusctl plan` and `nexusctl apply`.",
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.pass_context
def program(context: click.Context) -> None:
    """Declare the language models you run; see what will change; make it true; keep it true."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> NoReturn:
    """The entry point of the installed script."""
    rare_collections()
    sys.exit(run(sys.argv[1:]))


def rare_collections() -> None:
    """Look for garbage rarely: manifests make millions of values and hardly a cycle, and each look walks them all."""
    gc.set_threshold(100_000, 20, 100)


def run(words: Sequence[str], invocation: Invocation | None = None) -> int:
    """Run one command line and return its exit code. Everything that goes wrong is printed here, on stderr."""
    given = invocation or Invocation(tuple(words))
    try:
        code = program.main(list(words), prog_name=PROGRAM, standalone_mode=False, obj=given)
    except ReaderGone:
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except Exception as error:
        return _in_dialect(_show(error), words)
    return code if isinstance(code, int) else 0


def _in_dialect(code: int, words: Sequence[str]) -> int:
    """Two commands keep the exit codes that people know from elsewhere, in which 1 or 2 mean "different"."""
    if code == INTERRUPTED:
        return code
    name = words[0] if words else ""
    if name == "diff":
        return max(code, 2)
    if name == "plan" and "--detailed-exitcode" in words:
        return 1
    return code


def _show(error: Exception) -> int:
    """Print an error and return its code."""
    from nexus_ctl.errors import Bug, ManifestError, NexusError, UsageError

    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path} --help" if context is not None else ""
        error = UsageError(error.format_message(), hint=hint)
    if not isinstance(error, NexusError):
        return _show_bug(Bug(f"{type(error).__name__}: {error}"), error)
    from nexus_ctl.cli.terminal import style_for

    style = style_for(sys.stderr)
    if isinstance(error, ManifestError):
        from nexus_ctl.views.diagnostics import render

        text = render(error.diagnostics, style)
    else:
        from nexus_ctl.views.failure import failure

        text = failure(error, style)
    click.echo(text, err=True, nl=False)
    return exit_code(error)


def exit_code(error: NexusError) -> int:
    """The exit code of an error of ours."""
    return next(EXIT_CODES[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in EXIT_CODES)


def _show_bug(bug: NexusError, cause: Exception) -> int:
    import traceback

    from nexus_ctl.cli.terminal import style_for
    from nexus_ctl.views.failure import failure

    click.echo("".join(traceback.format_exception(cause)), err=True, nl=False)
    click.echo(failure(bug, style_for(sys.stderr)), err=True, nl=False)
    return BUG


if __name__ == "__main__":
    main()

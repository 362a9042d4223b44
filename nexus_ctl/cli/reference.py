"""The reference page of the command line, Markdown, from the commands themselves. A test keeps `docs/cli.md` fresh."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from nexus_ctl.cli.main import PROGRAM, program
from nexus_ctl.cli.table import COMMANDS

HEAD = f"""\
# The command line

<!-- Generated from the commands; `make docs` writes it anew. -->

`-f PATH` takes a file, a folder, a glob or `-` for standard input, and repeats; without it the nearest `nexus.yaml`
upward counts. `-e ENV` lays an environment over the base. Data goes to stdout, talk and progress to stderr. There is no
colour without a terminal, or with `NO_COLOR` set. A span is `90s`, `15m`, `1h30m` or a number of seconds.

| Exit code | Meaning |
| --- | --- |
| 0 | converged, or nothing to do |
| 1 | unexpected error |
| 2 | the command line or a manifest is wrong; nothing was done |
| 3 | a saved plan is stale, or something that is not ours is in the way |
| 4 | some objects are not as declared |
| 5 | the time is up |
| 6 | blocked by protection, by policy, or for want of a confirmation |
| 7 | another nexusctl is at work |
| 8 | the runtime does not answer |
| 130 | interrupted |
| 141 | whoever read the output went away |

`{PROGRAM} plan --detailed-exitcode` exits 0 without changes, 2 with changes, 1 on an error; `{PROGRAM} diff` exits 0
when all is the same, 1 when something differs, 2 or more on an error.

The first Ctrl-C while something is carried out starts nothing new and lets what is in flight finish; the second leaves
at once. Either way the next run goes on from there.
"""


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    for section in dict.fromkeys(row.section for row in COMMANDS.values()):
        parts.append(f"\n## {section}\n")
        for name, row in COMMANDS.items():
            if row.section == section:
                parts += _command(program.get_command(click.Context(program), name), f"{PROGRAM} {name}")
    return "".join(parts)


def write_reference(file: str | Path) -> None:
    """Write the page."""
    Path(file).write_text(reference(), encoding="utf-8")


def _command(command: click.Command | None, path: str) -> Iterator[str]:
    assert command is not None  # the table's own names
    context = click.Context(command, info_name=path, terminal_width=110)
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    options = [p for p in command.params if isinstance(p, click.Option)]
    yield f"\n### `{' '.join([path, *(['[OPTIONS]'] if options else []), *pieces])}`\n\n{_prose(command.help or '')}\n"
    if options:
        yield "\n| Option | Meaning |\n| --- | --- |\n"
        for option in options:
            record = option.get_help_record(context)
            assert record is not None  # every option has its help
            name, meaning = (" ".join(cell.split()).replace("|", r"\|") for cell in record)
            yield f"| `{name}` | {meaning} |\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from _command(command.get_command(context, name), f"{path} {name}")


def _prose(text: str) -> str:
    """The help text; what follows click's mark for "leave as it is" becomes a block of code."""
    parts = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        f"```\n{part.removeprefix(chr(8)).strip(chr(10))}\n```" if part.startswith("\b") else part for part in parts
    )

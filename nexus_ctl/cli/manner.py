"""How a person wants it done: the options that every command which changes the world shares, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import Any, cast

import click

from nexus_ctl.cli.options import SPAN, CommandT, lock_option, output_option, stack_options, yes_option


@dataclass(frozen=True, slots=True)
class Manner:
    """What the options said. Times in seconds."""

    yes: bool = False
    output: str = "text"
    timeout: float | None = None
    lock_timeout: float = 0.0
    dry_run: bool = False
    environment: str = ""


def manner_options(command: CommandT) -> CommandT:
    """`-f`, `-e`, `--yes`, `--dry-run`, `--timeout`, `--lock-timeout`, `-o`: for a command with `files`,
    `environment` and `manner`."""

    @wraps(command)
    def with_manner(
        *words: Any,
        yes: bool,
        output: str,
        timeout: float | None,
        lock_timeout: float,
        dry_run: bool,
        environment: str | None,
        **rest: Any,
    ) -> None:
        manner = Manner(yes, output, timeout, lock_timeout, dry_run, environment or "")
        command(*words, environment=environment, manner=manner, **rest)

    options = (
        stack_options,
        yes_option,
        click.option("--dry-run", is_flag=True, help="Only show the plan."),
        click.option(
            "--timeout", type=SPAN, metavar="SPAN", help="Start nothing new after so long, and exit 5. Default: no cap."
        ),
        lock_option,
        output_option("text", "json", "name"),
    )
    for option in reversed(options):
        with_manner = option(with_manner)
    return cast("CommandT", with_manner)

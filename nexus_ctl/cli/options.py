"""Options that several commands share, so that each means the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


class Span(click.ParamType[float]):
    """A time span: `90s`, `15m`, `1h30m`, or a number of seconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        parts = list(_SPAN.finditer(value))
        if not parts or "".join(part.group() for part in parts) != value:
            self.fail(f"{value!r} is not a time span; write 90s, 15m or 1h30m", param, ctx)
        return sum(float(part[1]) * _SECONDS[part[2]] for part in parts)


SPAN = Span()


def stack_options(command: CommandT) -> CommandT:
    """`-f` and `-e`: which manifests, which environment."""
    command = click.option(
        "-e", "--environment", metavar="ENV", help="Lay this environment of the Stack over the base."
    )(command)
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        metavar="PATH",
        help="A file, folder, glob, or - for stdin; repeats. Default: nexus.yaml here or in a folder above.",
    )(command)


def output_option(*forms: str) -> Callable[[CommandT], CommandT]:
    """`-o`: the form of what goes to stdout; the first one is the default."""
    return click.option(
        "-o", "--output", type=click.Choice(forms), default=forms[0], show_default=True, help="Form of the output."
    )


def locked_option(command: CommandT) -> CommandT:
    """`--locked`: nothing may be resolved anew."""
    words = "Refuse a model that nexus.lock has no entry for, and a build that comes to other bytes than it pins."
    return click.option("--locked", is_flag=True, help=words)(command)


def lock_option(command: CommandT) -> CommandT:
    """`--lock-timeout`: how long to wait for another nexusctl."""
    return click.option(
        "--lock-timeout",
        type=SPAN,
        default=0.0,
        metavar="SPAN",
        help="Wait so long for another nexusctl to finish. Default: not at all.",
    )(command)


def adopt_option(command: CommandT) -> CommandT:
    """`--adopt`: what to do about a running container that an annotation names."""
    return click.option(
        "--adopt",
        type=click.Choice(("never", "if-unowned")),
        default="never",
        show_default=True,
        help="Take over the container that `nexusctl/adopt` names, as it runs, where it is nobody's.",
    )(command)


def yes_option(command: CommandT) -> CommandT:
    """`--yes`: ask nothing."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(command)


def refresh_option(command: CommandT) -> CommandT:
    """`--refresh`: believe no remembered answer."""
    return click.option("--refresh", is_flag=True, help="Ask the hub, however young the remembered answer is.")(command)

"""Live progress on stderr: rows that redraw on a terminal, one plain line per beginning elsewhere.

`report` is called from many threads by the walk. rich is imported only where there is a terminal to draw on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

import click

from nexus_ctl.clock import Clock
from nexus_ctl.execution.report import Began, Fetching, Outcome, Report, Status
from nexus_ctl.planning.plan import Node
from nexus_ctl.resources.artifact import Progress as Transfer
from nexus_ctl.views.applied import spoken
from nexus_ctl.views.progress import Rate, phrase

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

ENDED = {Status.DONE: "done", Status.FAILED: "failed"}
PLAIN_SECONDS = 5.0
"""Between two plain lines about one download."""


@contextmanager
def live(clock: Clock) -> Iterator[Report]:
    """Where to report to while something is carried out."""
    if not sys.stderr.isatty():
        yield _Plain(clock).report
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False, markup=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as rows:
        yield _Rows(rows, clock).report


def told_plainly(clock: Clock) -> Callable[[str, Transfer], None]:
    """Where a command that plans nothing tells how far a model is: a line on stderr now and then."""
    rates: dict[str, Rate] = {}
    told: dict[str, float] = {}

    def tell(name: str, step: Transfer) -> None:
        now = clock.monotonic()
        line = rates.setdefault(name, Rate()).line(step, now)
        if now - told.setdefault(name, now) >= PLAIN_SECONDS:
            told[name] = now
            click.echo(f"model/{name}: {line}", err=True)

    return tell


class _Plain:
    """One line when an action begins or fails; now and then one about a download."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rates: dict[int, Rate] = {}
        self._told: dict[int, float] = {}
        self._lock = Lock()

    def report(self, event: Began | Fetching | Outcome) -> None:
        with self._lock:
            line = self._line(event)
            if line:
                click.echo(f"{spoken(event.node.ref)}: {line}", err=True)

    def _line(self, event: Began | Fetching | Outcome) -> str:
        match event:
            case Began(node):
                return phrase(node.action)
            case Outcome(node, status) if status is Status.FAILED:
                return f"failed {phrase(node.action)}"
            case Outcome(note=note) if note:
                return note
            case Fetching(node, step):
                now = self._clock.monotonic()
                line = self._rates.setdefault(node.id, Rate()).line(step, now)
                if now - self._told.get(node.id, float("-inf")) >= PLAIN_SECONDS:
                    self._told[node.id] = now
                    return line
        return ""


class _Rows:
    """A row per running action; what ended stays above as a line."""

    def __init__(self, rows: Progress, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock
        self._tasks: dict[int, TaskID] = {}
        self._rates: dict[int, Rate] = {}

    def report(self, event: Began | Fetching | Outcome) -> None:
        node = event.node
        match event:
            case Began():
                self._tasks[node.id] = self._rows.add_task(_label(node), total=None)
            case Fetching(_, step):
                line = self._rates.setdefault(node.id, Rate()).line(step, self._clock.monotonic())
                self._rows.update(self._tasks[node.id], description=f"{spoken(node.ref)}: {line}")
            case Outcome(_, status, note=note):
                if node.id in self._tasks:
                    self._rows.remove_task(self._tasks.pop(node.id))
                    if status in ENDED:
                        self._rows.console.print(f"{_label(node)}, {ENDED[status]}")
                    if note:
                        self._rows.console.print(f"{spoken(node.ref)}: {note}")


def _label(node: Node) -> str:
    return f"{spoken(node.ref)}: {phrase(node.action)}"

"""Ctrl-C while something is carried out (R11 f): the first starts nothing new and lets what is in flight finish; the
second leaves at once, which is no worse than `kill -9`, and that every step survives."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

import click

SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_CODE = 130
SHOW_CURSOR = "\x1b[?25h"


class Interrupts:
    """A context in which SIGINT and SIGTERM ask instead of killing. `asked` says whether one came."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            if sys.stderr.isatty():
                os.write(2, SHOW_CURSOR.encode())
            os._exit(EXIT_CODE)
        self.asked = True
        click.echo("interrupted: finishing what is in flight; once more to leave at once", err=True)

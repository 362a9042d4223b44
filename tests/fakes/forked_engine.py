"""One helper process that imports llama.cpp once and forks for every line it is given.

So a start costs tens of milliseconds, and an abort inside the engine costs one answer. `answers_of` is called by the
test, `serve_lines` by the module that runs as the helper: JSON lines in, JSON lines out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]


def answers_of(module: str, lines: Sequence[str], seconds_each: float) -> list[dict[str, Any]]:
    """What the helper that is `module` answers to each line, one after the other. Raises AssertionError where one is
    missing, TimeoutExpired after a minute and `seconds_each` for each."""
    helper = subprocess.run(
        [sys.executable, "-m", module],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        cwd=_ROOT,
        timeout=60 + seconds_each * len(lines),
        check=True,
    )
    found = [json.loads(line) for line in helper.stdout.splitlines()]
    assert len(found) == len(lines), helper.stderr
    return found


def serve_lines(serve: Callable[[dict[str, Any], str], None], answer: Callable[[Path, bool], dict[str, Any]]) -> None:
    """Fork `serve` for each line on stdin, with the line and a log that takes its output; write the `answer` from that
    log and whether the child ended with 0."""
    import xllamacpp  # noqa: F401  # imported before the first fork, so that each start is cheap

    with tempfile.TemporaryDirectory() as directory:
        for number, line in enumerate(sys.stdin):
            log = Path(directory, str(number))
            log.touch()
            child = os.fork()
            if not child:
                try:
                    out = os.open(log, os.O_WRONLY | os.O_APPEND)
                    os.dup2(out, 1)
                    os.dup2(out, 2)
                    serve(json.loads(line), str(log))
                finally:
                    os._exit(1)
            status = os.waitpid(child, 0)[1]
            sys.stdout.write(json.dumps(answer(log, status == 0)) + "\n")
            sys.stdout.flush()

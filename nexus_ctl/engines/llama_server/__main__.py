"""The stand-in for `llama-server`: llama.cpp's own HTTP server out of the `xllamacpp` package, with the same flags.

Started by the process runtime where no llama-server binary is configured or on PATH. It blocks SIGTERM before any
native thread exists and waits for it, so that it stops at once also while a model loads. It does not drain: that is the
gateway's work. It lives in a process of its own because native asserts abort.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from nexus_ctl.engines.llama_server.command_line import WrongWord, fill, from_environment, read

ENDING = {signal.SIGTERM, signal.SIGINT}
MOST_CONTEXT = -1
"""As `uint32_t` the largest there is: a context that was asked for in full is never shrunk to fit."""


def main(words: Sequence[str]) -> int:
    """Serves until told to end; the exit code: 0 told to, 1 cannot serve."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        given = read([*from_environment(os.environ), *words])
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.n_parallel = -1
        fill(params, given, xllamacpp)
    except WrongWord as error:
        return fail(str(error))
    if not params.model.path:
        return fail("no model given: --model FILE")
    if any(argument.name == "--ctx-size" for argument, _, _ in given) and params.n_ctx == 0:
        params.fit_params_min_ctx = MOST_CONTEXT
    faults: list[str] = []
    threading.Thread(target=serve, args=(xllamacpp, params, faults), daemon=True).start()
    number = signal.sigwait(ENDING)
    if faults:  # an ending in order: llama.cpp writes its log in a thread of its own, and its last words say why
        return fail(faults[0])
    say(f"received {signal.Signals(number).name}, ending")
    os._exit(0)


def serve(x: Any, params: Any, faults: list[str]) -> None:
    """Loads and serves in native threads; a failure is handed over, and wakes the main thread."""
    try:
        server = x.Server(params)
    except Exception as error:
        faults.append(str(error))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        return
    say(f"model loaded, listening on {server.listening_address}")
    threading.Event().wait()  # the server stops with its last reference


def say(line: str) -> None:
    """One line to standard error, beside llama.cpp's own."""
    print(f"llama-server: {line}", file=sys.stderr, flush=True)  # noqa: T201  # an engine's log is its stderr


def fail(words: str) -> int:
    """Says why; exit code 1."""
    say(f"error: {words}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

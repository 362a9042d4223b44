"""Workers that work at once, in the caller's thread: a walk becomes one deterministic sequence of effects."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from nexus_ctl.planning.action import Pool


class Inline(Executor):
    """`submit` runs the call before it returns. What is no Exception (a simulated death) goes straight through."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def inline_workers() -> dict[Pool, Executor]:
    """One for every pool."""
    return {pool: Inline() for pool in Pool}

"""The lifecycle of a model and of a replica, as a state machine whose illegal steps cannot be written.

One frozen class per state; its methods are exactly its legal steps, so the type checker finds the others
(`Unknown().ready()` has no such attribute, `Ready()` lacks the argument that only this module can give). The only ways
in are `Unknown.first()`, `parse` (from the store) and `walk` (from an observation). `steps` reads the machine back
from the classes; `docs/lifecycle.md` prints it.

Why the machine has more arrows than the happy path UNKNOWN → ... → STOPPED:

- FAILED remembers what failed, for a retry repeats that: a failed download cannot be loaded, a failed load may be
  loaded again, downloaded again (the bytes were bad) or given up (UNLOADING removes what is left of it).
- READY → LOADING: the engine exited and is started again; no word in between would tell a user more.
- LOADING → UNLOADING: stopped before it was ready. STOPPED → LOADING: started again.
- DOWNLOADED, STOPPED → DOWNLOADING: the source changed, or the bytes are gone.
- DOWNLOADED → CONVERTING, QUANTIZING → DOWNLOADED: what is served is built from what was downloaded. A build that
  failed is begun again, perhaps from other bytes.

Reasons and times are conditions' business; a state is only its name.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, get_args, get_type_hints


@dataclass(frozen=True, slots=True)
class _Seal:
    """Given only by this module; its absence makes `Ready()` an error to mypy and at run time alike."""


_SEAL = _Seal()


@dataclass(frozen=True, slots=True)
class _State:
    _seal: _Seal

    def __str__(self) -> str:
        return _NAMES[type(self)]

    @property
    def word(self) -> str:
        """The state without what failed: `FAILED` for `FAILED:LOADING`."""
        return str(self).partition(":")[0]


class Unknown(_State):
    """Nothing is known yet."""

    __slots__ = ()

    @classmethod
    def first(cls) -> Unknown:
        """The state on first sight."""
        return cls(_SEAL)

    def download(self) -> Downloading:
        return Downloading(_SEAL)


class Downloading(_State):
    """Bytes are being fetched or verified. With everything in the cache this takes no time."""

    __slots__ = ()

    def finish(self) -> Downloaded:
        return Downloaded(_SEAL)

    def fail(self) -> DownloadFailed:
        return DownloadFailed(_SEAL)


class Downloaded(_State):
    """Verified on disk."""

    __slots__ = ()

    def convert(self) -> Converting:
        return Converting(_SEAL)

    def quantize(self) -> Quantizing:
        return Quantizing(_SEAL)

    def load(self) -> Loading:
        return Loading(_SEAL)

    def download(self) -> Downloading:
        return Downloading(_SEAL)


class Converting(_State):
    """Another format is being made of the bytes."""

    __slots__ = ()

    def finish(self) -> Downloaded:
        return Downloaded(_SEAL)

    def fail(self) -> BuildFailed:
        return BuildFailed(_SEAL)


class Quantizing(_State):
    """Narrower numbers are being made of the bytes."""

    __slots__ = ()

    def finish(self) -> Downloaded:
        return Downloaded(_SEAL)

    def fail(self) -> BuildFailed:
        return BuildFailed(_SEAL)


class Loading(_State):
    """An engine is starting and reading the weights."""

    __slots__ = ()

    def finish(self) -> Ready:
        return Ready(_SEAL)

    def fail(self) -> LoadFailed:
        return LoadFailed(_SEAL)

    def unload(self) -> Unloading:
        return Unloading(_SEAL)


class Ready(_State):
    """Answers requests."""

    __slots__ = ()

    def unload(self) -> Unloading:
        return Unloading(_SEAL)

    def load(self) -> Loading:
        return Loading(_SEAL)


class Unloading(_State):
    """Drains and stops."""

    __slots__ = ()

    def finish(self) -> Stopped:
        return Stopped(_SEAL)


class Stopped(_State):
    """Stopped on purpose; the bytes are kept."""

    __slots__ = ()

    def load(self) -> Loading:
        return Loading(_SEAL)

    def download(self) -> Downloading:
        return Downloading(_SEAL)


class DownloadFailed(_State):
    """The bytes could not be had."""

    __slots__ = ()

    def download(self) -> Downloading:
        return Downloading(_SEAL)


class BuildFailed(_State):
    """The bytes are here, and what should be built from them could not be."""

    __slots__ = ()

    def download(self) -> Downloading:
        return Downloading(_SEAL)

    def convert(self) -> Converting:
        return Converting(_SEAL)

    def quantize(self) -> Quantizing:
        return Quantizing(_SEAL)


class LoadFailed(_State):
    """The engine did not come up."""

    __slots__ = ()

    def load(self) -> Loading:
        return Loading(_SEAL)

    def download(self) -> Downloading:
        return Downloading(_SEAL)

    def unload(self) -> Unloading:
        return Unloading(_SEAL)


Lifecycle: TypeAlias = (
    Unknown
    | Downloading
    | Downloaded
    | Converting
    | Quantizing
    | Loading
    | Ready
    | Unloading
    | Stopped
    | DownloadFailed
    | BuildFailed
    | LoadFailed
)
_STATES: tuple[type[Lifecycle], ...] = get_args(Lifecycle)
_FAILED: dict[type[_State], str] = {
    DownloadFailed: "FAILED:DOWNLOADING",
    BuildFailed: "FAILED:BUILDING",
    LoadFailed: "FAILED:LOADING",
}
_NAMES: dict[type[_State], str] = {state: _FAILED.get(state, state.__name__.upper()) for state in _STATES}
_BY_NAME = {_NAMES[state]: state for state in _STATES}


@dataclass(frozen=True, slots=True)
class Step:
    """One legal step: `READY --unload--> UNLOADING`."""

    before: str
    verb: str
    after: str


def parse(text: str) -> Lifecycle:
    """The state that `str` wrote; "" is UNKNOWN. Raises ValueError."""
    state = _BY_NAME.get(text or "UNKNOWN")
    if state is None:
        raise ValueError(f"not a lifecycle state: {text!r} (one of {', '.join(_BY_NAME)})")
    return state(_SEAL)


@cache
def steps() -> tuple[Step, ...]:
    """Every legal step, read from the classes, in the order they are written."""
    return tuple(
        Step(_NAMES[state], verb, _NAMES[after])
        for state in _STATES
        for verb, method in vars(state).items()
        if not verb.startswith("_") and not isinstance(method, classmethod)
        for after in [get_type_hints(method)["return"]]
    )


def walk(state: Lifecycle, observed: str) -> tuple[Lifecycle, ...]:
    """The legal states from `state` (not included) to the one that was observed: the shortest way, () when there.

    Observation sees states, not steps: a replica found READY by a fresh store went through all the states before.
    Raises ValueError when no legal way leads there (nothing goes back to UNKNOWN).
    """
    target, start = str(parse(observed)), str(state)
    ways: dict[str, tuple[str, ...]] = {start: ()}
    queue = deque([start])
    while queue and target not in ways:
        here = queue.popleft()
        for step in steps():
            if step.before == here and step.after not in ways:
                ways[step.after] = (*ways[here], step.after)
                queue.append(step.after)
    if target not in ways:
        raise ValueError(f"no legal way from {start} to {target}")
    return tuple(parse(name) for name in ways[target])


def markdown() -> str:
    """The steps as the table of `docs/lifecycle.md`."""
    rows = [f"| `{step.before}` | {step.verb} | `{step.after}` |" for step in steps()]
    return "\n".join(["| state | step | next state |", "| --- | --- | --- |", *rows])

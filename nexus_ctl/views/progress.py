"""What is going on, in words: one phrase per action, and a download's bytes, rate and time left.

Pure: the rate is computed from the moments handed in. The CLI decides where and how often to show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nexus_ctl.planning.action import Action, subject
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.artifact import Progress

PHRASES: Mapping[str, str] = {
    "FetchModel": "fetching the file",
    "ConvertModel": "converting",
    "QuantizeModel": "quantizing",
    "PinModel": "recording its use",
    "UnpinModel": "releasing the file",
    "PullImage": "pulling",
    "CreateReplica": "creating {}",
    "AdoptReplica": "taking over {}",
    "StartReplica": "starting {}",
    "AwaitReady": "waiting until {} is ready",
    "Publish": "routing to {}",
    "Withdraw": "taking {} out of the routes",
    "Drain": "letting {} finish its requests",
    "StopReplica": "stopping {}",
    "RemoveReplica": "removing {}",
    "Sweep": "sweeping up after {}",
    "ResumeReplica": "letting {} go on",
    "UpdateLimits": "changing the limits of {}",
    "PutPreset": "putting it into the gateway's table",
    "DeletePreset": "taking it out of the gateway's table",
    "PutRoute": "putting it into the gateway's table",
    "DeleteRoute": "taking it out of the gateway's table",
}
PHASES = {
    "download": "downloading",
    "verify": "verifying",
    "extract": "extracting",
    "pull": "pulling",
    "convert": "converting",
    "quantize": "quantizing",
}
SMOOTHING_SECONDS = 5.0
"""The rate follows what happened in about this much time."""


def phrase(action: Action) -> str:
    """What an action does: `starting demo-chat-0-1f2e3d4c`."""
    return PHRASES[type(action).__name__].format(subject(action))


@dataclass(slots=True)
class Rate:
    """Bytes per second of one transfer, smoothed; begins anew with each phase."""

    _phase: str = ""
    _bytes: int = 0
    _moment: float = 0.0
    _rate: float | None = field(default=None)

    def line(self, step: Progress, moment: float) -> str:
        """`downloading 12.0 MiB of 98.2 MiB, 10.1 MiB/s, 9 s left`; `moment` in seconds, monotonic."""
        if step.phase != self._phase or step.done_bytes < self._bytes:
            self._phase, self._bytes, self._moment, self._rate = step.phase, step.done_bytes, moment, None
        elif moment > self._moment:
            elapsed = moment - self._moment
            now = (step.done_bytes - self._bytes) / elapsed
            weight = min(1.0, elapsed / SMOOTHING_SECONDS)
            self._rate = now if self._rate is None else self._rate + weight * (now - self._rate)
            self._bytes, self._moment = step.done_bytes, moment
        of = f" of {human_bytes(step.total_bytes)}" if step.total_bytes is not None else ""
        text = f"{PHASES.get(step.phase, step.phase)} {human_bytes(step.done_bytes)}{of}"
        if self._rate:
            text += f", {human_bytes(round(self._rate))}/s"
            if step.total_bytes is not None:
                text += f", {_left((step.total_bytes - step.done_bytes) / self._rate)} left"
        return text


def _left(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{round(seconds / 60)} min" if whole < 7200 else f"{whole / 3600:.1f} h"

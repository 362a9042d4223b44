"""How long a name is without service: what the steps of a change may take at most, and what they took before; and what
leaving replicas are waited for. Pure.

Called by the deployment's plan for a change in whose course nothing serves. The rule: everything between the last
request that the old replica takes and the first that the new one answers counts, so draining and stopping do too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nexus_ctl.planning.action import AwaitReady, Drain, StopReplica
from nexus_ctl.planning.change import Step, on_the_way
from nexus_ctl.resources.observed import Timing
from nexus_ctl.resources.quantity import format_duration


@dataclass(frozen=True, slots=True)
class Gap:
    """Seconds without service until the new replica answers. `usual_seconds` is None where nothing was measured;
    `most_seconds` is None where nothing bounds it: an evicted service comes back when there is room."""

    most_seconds: float | None
    usual_seconds: float | None = None

    def __str__(self) -> str:
        if self.most_seconds is None:
            return "until there is room for it again"
        usual = f": about {self.usual_seconds:.1f}s as measured before" if self.usual_seconds is not None else ""
        return f"until the new replica is ready{usual}, at most {format_duration(self.most_seconds)}"


def gap_of(steps: Sequence[Step], timing: Timing | None) -> Gap:
    """The gap of a change to the only replica: the deadlines of its waits, one after the other."""
    actions = [steps[i].action for i in on_the_way(tuple(steps))]
    most = sum(_deadline(action) for action in actions if isinstance(action, Drain | StopReplica | AwaitReady))
    if timing is None:
        return Gap(most)
    leaves = any(isinstance(action, StopReplica) for action in actions)
    return Gap(most, timing.ready_seconds + (timing.leave_seconds or 0.0 if leaves else 0.0))


def drain_lines(steps: Sequence[Step]) -> tuple[str, ...]:
    """What leaving replicas are waited for, one line for each way and deadline, in order of appearance."""
    drains = (step.action for step in steps if isinstance(step.action, Drain) and step.action.deadline_seconds > 0)
    return tuple(dict.fromkeys(map(_drain_line, drains)))


def _drain_line(drain: Drain) -> str:
    counts = "the gateway's count and the engine's own" if drain.busy is not None else "the gateway's count"
    path = f" ({drain.busy.path})" if drain.busy is not None else ""
    return f"drains: {counts}{path}, at most {format_duration(drain.deadline_seconds)}"


def _deadline(action: Drain | StopReplica | AwaitReady) -> float:
    match action:
        case Drain(deadline_seconds=seconds) | StopReplica(grace_seconds=seconds):
            return seconds
        case AwaitReady(probe=probe):
            return probe.healthy_deadline_seconds

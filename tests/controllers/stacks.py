"""Hypothesis strategies for stacks: small worlds of names, so that edits, removals and returns are common."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from nexus_ctl.resources.declared import Stack
from tests.builders import a_deployment, a_model, a_preset, a_route, a_stack

NAMES = ("a", "b")
STRATEGIES = ("auto", "startFirst", "stopFirst")


@st.composite
def stacks(draw: st.DrawFn) -> Stack:
    """Any stack of at most two models, deployments, presets and routes; never empty, for pruning all is refused."""
    models = draw(st.sets(st.sampled_from(NAMES)))
    resources: list[Any] = [a_preset("anchor"), *(a_model(name) for name in sorted(models))]
    deployments = draw(st.sets(st.sampled_from(NAMES))) if models else set()
    for name in sorted(deployments):
        resources.append(
            a_deployment(
                name,
                model=draw(st.sampled_from(sorted(models))),
                context=draw(st.sampled_from((1024, 2048))),
                replicas=draw(st.integers(0, 2)),
                rollout={"strategy": draw(st.sampled_from(STRATEGIES))},
                drift=draw(st.sampled_from(("heal", "heal", "report"))),
            )
        )
    presets = draw(st.sets(st.sampled_from(NAMES)))
    for name in sorted(presets):
        protect = {"protect": "delete"} if draw(st.booleans()) else {}
        resources.append(a_preset(name, draw(st.sampled_from((0.0, 0.5, 1.0))), **protect))
    for name in sorted(draw(st.sets(st.sampled_from(NAMES))) if deployments else ()):
        preset = draw(st.sampled_from((None, *sorted(presets))))
        resources.append(a_route(name, draw(st.sampled_from(sorted(deployments))), preset=preset))
    return a_stack(*resources)

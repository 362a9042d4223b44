"""vLLM: what `/v1/models` says was loaded, held against the declared fields, and where it tells what it works on.

Reached through `engines.table`.
"""

from __future__ import annotations

from collections.abc import Iterator

from nexus_ctl.engines.loaded import Answers, Unlike, fact, number
from nexus_ctl.resources.busy import BusySignal
from nexus_ctl.resources.deployment import DeploymentSpec

MODELS = "/v1/models"
BUSY = BusySignal("/metrics", gauges=("vllm:num_requests_running", "vllm:num_requests_waiting"))
STATS_OFF = "disable-log-stats"
"""The flag without which its metrics hold these gauges."""


def reads(spec: DeploymentSpec) -> tuple[str, ...]:
    """The paths to ask."""
    return (MODELS,)


def unlike(spec: DeploymentSpec, answers: Answers) -> tuple[Unlike, ...]:
    """The fields that the server did not load as declared."""
    return tuple(_unlike(spec, answers))


def busy(spec: DeploymentSpec) -> BusySignal | None:
    """Where it says what it works on; None where its statistics are declared off."""
    assert spec.engine.vllm is not None  # the table chose this module by it
    return None if spec.engine.vllm.args.get(STATS_OFF) is True else BUSY


def _unlike(spec: DeploymentSpec, answers: Answers) -> Iterator[Unlike]:
    assert spec.engine.vllm is not None  # the table chose this module by it
    name = fact(answers, MODELS, "data", 0, "id")
    if isinstance(name, str) and name != spec.model:
        yield Unlike("spec.model", spec.model, name or "no name")
    wanted, length = spec.engine.vllm.model.max_length, number(answers, MODELS, "data", 0, "max_model_len")
    if wanted is not None and length is not None and length != wanted:
        yield Unlike("spec.engine.vllm.model.maxLength", str(wanted), str(length))

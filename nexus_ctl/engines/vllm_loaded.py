"""vLLM: what `/v1/models` says was loaded, held against the declared fields. Reached through `engines.table`."""

from __future__ import annotations

from collections.abc import Iterator

from nexus_ctl.engines.loaded import Answers, Unlike, fact, number
from nexus_ctl.resources.deployment import DeploymentSpec

MODELS = "/v1/models"


def reads(spec: DeploymentSpec) -> tuple[str, ...]:
    """The paths to ask."""
    return (MODELS,)


def unlike(spec: DeploymentSpec, answers: Answers) -> tuple[Unlike, ...]:
    """The fields that the server did not load as declared."""
    return tuple(_unlike(spec, answers))


def _unlike(spec: DeploymentSpec, answers: Answers) -> Iterator[Unlike]:
    assert spec.engine.vllm is not None  # the table chose this module by it
    name = fact(answers, MODELS, "data", 0, "id")
    if isinstance(name, str) and name != spec.model:
        yield Unlike("spec.model", spec.model, name or "no name")
    wanted, length = spec.engine.vllm.model.max_length, number(answers, MODELS, "data", 0, "max_model_len")
    if wanted is not None and length is not None and length != wanted:
        yield Unlike("spec.engine.vllm.model.maxLength", str(wanted), str(length))

"""Facts of a model and this machine → what fits and why. Between `model_facts` and `placement.llama_cpp.choice`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_ctl.errors import UsageError
from nexus_ctl.placement.llama_cpp.choice import Candidate, Recommendation, Weighing, candidate, recommend, weigh

if TYPE_CHECKING:
    from nexus_ctl.resources.catalog import ModelFacts
    from nexus_ctl.resources.device import Device, DeviceList
    from nexus_ctl.resources.memory import EngineSettings


def weighed(facts: ModelFacts, settings: EngineSettings, machine: tuple[Device, DeviceList]) -> Recommendation | None:
    """Every quantization on offer held against the machine; None where no header is known.

    Raises UsageError for settings that the engine would refuse.
    """
    if facts.header is None:
        return None
    known = facts.header
    offered = (candidate(one.label, one.size_bytes, known, facts.header_of) for one in facts.quantizations)
    return recommend([_weighed(one, settings, machine) for one in offered])


def weighed_alone(facts: ModelFacts, settings: EngineSettings, machine: tuple[Device, DeviceList]) -> Weighing:
    """The one quantization whose header is known. Raises UsageError as `weighed` does."""
    assert facts.header is not None
    size = next(one.size_bytes for one in facts.quantizations if one.label == facts.header_of)
    return _weighed(Candidate(facts.header_of, size, facts.header), settings, machine)


def _weighed(one: Candidate, settings: EngineSettings, machine: tuple[Device, DeviceList]) -> Weighing:
    host, gpus = machine
    try:
        return weigh(one, settings, host, gpus.devices)
    except ValueError as error:
        raise UsageError(str(error), code="no-estimate") from error

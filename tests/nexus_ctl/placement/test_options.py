"""The ways to run a model become options, and what `fit` takes is what the engine is told."""

from __future__ import annotations

from collections.abc import Mapping

from nexus_ctl.placement.fit import fit
from nexus_ctl.placement.options import ways
from nexus_ctl.resources.memory import HOST, Accelerator, EngineSettings
from nexus_ctl.resources.placement import Demand, Room
from nexus_ctl.resources.weights import GgufHeader

GIB = 1 << 30
TWO = (Accelerator("a", 80 * GIB), Accelerator("b", 80 * GIB))


def test_whole_first_then_split_then_fewer_layers(headers: Mapping[str, GgufHeader]) -> None:
    found = ways(headers["llama-gqa"], EngineSettings(), TWO, counts=(1, 2), partial=True)
    labels = [way.option.label for way in found]
    assert labels == ["whole", "over 2 devices", "4 of 5 layers", "3 of 5 layers", "2 of 5 layers", "1 of 5 layers"]
    assert [len(way.option.claims) for way in found] == [1, 2, 1, 1, 1, 1]
    assert [way.settings.gpu_layers for way in found] == [None, None, 4, 3, 2, 1]
    assert all(way.option.claims == tuple(d.claim_bytes for d in way.estimate.devices) for way in found)


def test_without_devices_the_host_is_the_one_way(headers: Mapping[str, GgufHeader]) -> None:
    for devices, wanted in (((), EngineSettings()), (TWO, EngineSettings(gpu_layers=0))):
        (way,) = ways(headers["llama-gqa"], wanted, devices, counts=(1, 2), partial=True)
        assert (way.option.claims, way.option.host_bytes) == ((), way.estimate.host.claim_bytes)


def test_a_large_model_takes_as_many_layers_as_fit(headers: Mapping[str, GgufHeader]) -> None:
    found = ways(headers["Qwen3-30B-A3B"], EngineSettings(context_size=16384), TWO[:1], counts=(1,), partial=True)
    demand = Demand("chat", tuple(way.option for way in found))
    (decision,) = fit((demand,), (Room("a", 12 * GIB, 12 * GIB), Room(HOST, 64 * GIB, 64 * GIB))).decisions
    assert decision.assignment is not None
    taken = next(place for place, way in enumerate(found) if way.option.label == decision.assignment.option)
    assert found[taken].option.claims[0] <= 12 * GIB < found[taken - 1].option.claims[0]
    assert 1 < (found[taken].settings.gpu_layers or 0) < 49

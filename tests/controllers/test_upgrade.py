"""The upgrade corpus (T10): a world made by each released version plans empty under this one.

`python -m tests.controllers.test_upgrade` records the world of the present version; a release adds its folder and
never changes an old one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nexus_ctl import __version__
from nexus_ctl.engines import table as engines
from nexus_ctl.resources import routing
from nexus_ctl.resources.artifact import Pin
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.launch import LaunchSpec, Limits
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Replica
from tests.builders import a_deployment, a_model, a_preset, a_route, a_stack
from tests.fakes.runtime import FakeRuntime
from tests.fakes.world import FakeWorld, offer

RELEASED = Path(__file__).parents[1] / "data" / "released"


def everything() -> Stack:
    """A stack that uses many fields, so that a change of any of their meanings is noticed."""
    return a_stack(
        a_model(),
        a_deployment(
            replicas=2,
            env={"A": {"value": "1"}},
            resources={"cpu": 2, "memory": "1Gi"},
            probe={"interval": "100ms"},
            rollout={"strategy": "stopFirst", "drainDeadline": "1m30s"},
        ),
        a_preset(),
        a_route(preset="precise"),
    )


def record() -> None:
    """Write down what the present version leaves in the world."""
    world = FakeWorld()
    offer(world, everything())
    world.apply(everything())
    folder = RELEASED / __version__
    folder.mkdir(parents=True, exist_ok=True)
    labels = {
        side: {name: thing.owner.labels() for name, thing in runtime.things.items() if thing.owner}
        for side, runtime in (("runtime", world.runtime), ("host", world.host))
    }
    launches = {name: thing.launch.fixed_listen for name, thing in world.host.things.items() if thing.launch}
    pins = [[p.instance, p.set, p.model, p.key, p.spec, p.protected] for p in world.artifacts.pinned.values()]
    found = {"labels": labels, "listen": launches, "pins": pins}
    (folder / "world.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    (folder / "table.json").write_bytes(routing.encode(world.routing.table))


def restored(folder: Path) -> FakeWorld:
    """The world that a version left, its engines running where the table says."""
    found = json.loads((folder / "world.json").read_text())
    world = FakeWorld()
    offer(world, everything())
    for pin in found["pins"]:
        made = Pin(*pin)
        world.artifacts.pin(made)
        world.artifacts.delivered[made.key] = world.artifacts.sources[made.key]
    table = routing.decode((folder / "table.json").read_bytes())
    _start(world.host, found["labels"]["host"], found["listen"])
    rows = {name: address for each in table.endpoints.values() for name, address in each.items()}
    _start(world.runtime, found["labels"]["runtime"], {n: a.removeprefix("http://") for n, a in rows.items()})
    world.routing.table = table
    world.clock.advance(60)
    return world


def _start(runtime: FakeRuntime, labels: dict[str, dict[str, str]], listen: dict[str, str]) -> None:
    limited = engines.launch(a_deployment(resources={"cpu": 2, "memory": "1Gi"}).spec).limits
    for name, pairs in labels.items():
        owner = Ownership.from_labels(pairs)
        assert owner is not None, f"{name}: the labels of an older version can not be read"
        wanted = limited if owner.kind == "Deployment" else Limits()
        launch = LaunchSpec(("engine",), limits=wanted, fixed_listen=listen[name])
        runtime.create(Replica(name, owner, launch))
        runtime.start(name, {})


@pytest.mark.parametrize("folder", sorted(RELEASED.iterdir()), ids=lambda folder: folder.name)
def test_a_world_made_by_an_older_version_plans_empty(folder: Path) -> None:
    world = restored(folder)
    plan = world.plan(everything(), version="99.0")
    assert plan.nodes == (), str(plan)
    assert plan.empty
    before = [thing.pid for thing in world.runtime.things.values()]
    world.apply(everything(), version="99.0")
    assert [thing.pid for thing in world.runtime.things.values()] == before


def test_the_present_version_has_its_fixture() -> None:
    assert (RELEASED / __version__).is_dir(), "python -m tests.controllers.test_upgrade"


if __name__ == "__main__":
    sys.exit(record())

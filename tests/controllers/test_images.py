"""Container images in the plan: pulled before anything is created, told apart by digest, followed only when asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers.locking import relocked
from controllers.looking import Options
from nexus_ctl.engines import table as engines
from nexus_ctl.planning.action import Sweep
from nexus_ctl.planning.change import Verb
from nexus_ctl.resources.artifact import HEADROOM_BYTES
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.image import LocalImage
from nexus_ctl.resources.lock import Lock
from tests.builders import a_deployment, a_model, a_route, a_stack
from tests.fakes.world import FakeWorld, offer

NAME = engines.launch(a_deployment().spec).image
OLD, NEW = LocalImage("sha256:" + "a" * 64, 1000), LocalImage("sha256:" + "b" * 64, 1200)


def demo(**runtime: object) -> Stack:
    return a_stack(a_model(), a_deployment(), a_route(), runtime=runtime)


@pytest.fixture
def world() -> FakeWorld:
    made = FakeWorld(containers=True)
    offer(made, demo())
    assert made.images is not None
    made.images.registry[NAME] = OLD
    return made


def verbs(world: FakeWorld, stack: Stack) -> dict[str, Verb]:
    return {change.ref.kind: change.verb for change in world.plan(stack).changes}


def test_a_missing_image_is_pulled_before_the_replica_is_created(world: FakeWorld) -> None:
    plan = world.plan(demo())
    pull = next(node for node in plan.nodes if type(node.action).__name__ == "PullImage")
    create = next(n for n in plan.nodes if type(n.action).__name__ == "CreateReplica" and n.ref.kind == "Deployment")
    assert pull.id in create.needs
    world.apply(demo())
    assert world.answers()
    assert world.plan(demo()).empty


def test_a_moved_tag_is_followed_only_when_asked(world: FakeWorld) -> None:
    world.apply(demo())
    assert world.images is not None
    world.images.registry[NAME] = NEW
    assert world.plan(demo()).empty, "IfNotPresent does not ask"
    follow = demo(pullPolicy="Always")
    assert verbs(world, follow)["Image"] is Verb.UPDATE
    change = next(c for c in world.plan(follow).changes if c.ref == Ref("Deployment", "chat"))
    assert change.codes == ("image_digest_changed",)
    world.apply(follow)
    assert world.images.here[NAME] == NEW
    assert world.plan(follow).empty


def test_the_loop_does_not_ask_whether_a_tag_has_moved(world: FakeWorld) -> None:
    follow = demo(pullPolicy="Always")
    world.apply(follow)
    assert world.images is not None
    world.images.registry[NAME] = NEW
    assert not world.plan(follow).empty
    world.images.reachable = False
    assert world.plan(follow, Options(keeping=True)).empty


def test_never_pulls_nothing_and_says_what_is_missing(world: FakeWorld) -> None:
    offline = demo(pullPolicy="Never")
    found = verbs(world, offline)
    assert (found["Image"], found["Deployment"]) == (Verb.BLOCKED, Verb.BLOCKED)
    assert world.images is not None
    world.images.here[NAME] = OLD
    world.apply(offline)
    assert world.answers()
    assert world.images.pulls == []


def test_an_unreachable_registry_blocks_only_what_is_not_here(world: FakeWorld) -> None:
    assert world.images is not None
    world.images.reachable = False
    assert verbs(world, demo())["Image"] is Verb.BLOCKED
    world.images.here[NAME] = OLD
    assert verbs(world, demo())["Image"] is Verb.NO_OP


def test_offline_what_is_here_runs_under_every_policy(world: FakeWorld) -> None:
    world.apply(demo())
    assert world.images is not None
    world.images.reachable = False
    for policy in ("IfNotPresent", "Always", "Never"):
        plan = world.plan(demo(pullPolicy=policy))
        assert plan.empty
        told = [note for change in plan.changes if change.ref.kind == "Image" for note in change.notes]
        assert any("does not answer" in note for note in told) == (policy == "Always")


def test_a_private_registry_gets_its_login_by_reference(world: FakeWorld) -> None:
    assert world.images is not None
    world.images.private[NAME] = world.secrets["GHCR"] = "canary-ghcr"
    assert verbs(world, demo())["Image"] is Verb.BLOCKED
    login = {"username": "robot", "password": {"valueFrom": {"env": "GHCR"}}}
    private = demo(registries={"ghcr.io": login})
    assert "canary-ghcr" not in repr(world.plan(private))
    world.apply(private)
    assert world.images.pulls == [NAME]


def test_the_plan_says_what_a_pull_downloads_and_takes(world: FakeWorld) -> None:
    plan = world.plan(demo())
    change = next(one for one in plan.changes if one.ref.kind == "Image")
    assert change.notes == (f"pull {NAME}@{OLD.digest}", "1000 B to download, about 1000 B on disk")
    assert change.download_bytes == 1000


def test_a_pull_that_does_not_fit_is_refused_before_anything_stops(world: FakeWorld) -> None:
    assert world.images is not None
    world.images.free_bytes = HEADROOM_BYTES + 1999
    plan = world.plan(demo())
    assert {c.ref.kind: c.codes for c in plan.blocked if c.ref.kind != "Route"} == {
        "Image": ("insufficient_disk",),
        "Deployment": ("dependency_blocked",),
    }
    detail = next(c for c in plan.blocked if c.ref.kind == "Image").reasons[0].detail
    assert "needs about 2.0 KiB (1000 B to download, about 1000 B unpacked)" in detail
    assert "/images has 256.0 MiB free" in detail
    assert "docker image prune" in detail
    world.images.free_bytes += 1
    assert not world.plan(demo()).blocked


def test_an_exchange_for_an_image_that_is_not_to_be_had_stops_nothing(world: FakeWorld) -> None:
    world.apply(demo())
    before = world.state()
    other = a_stack(a_model(), a_deployment(engine={"llamaCpp": {"image": "registry.test/other:1"}}), a_route())
    plan = world.plan(other)
    assert {c.ref.kind: c.codes for c in plan.blocked} == {
        "Image": ("image_unavailable",),
        "Deployment": ("dependency_blocked",),
    }
    world.apply(other)
    assert world.state() == before


def test_without_room_for_a_moved_tag_what_is_here_stays_and_heals(world: FakeWorld) -> None:
    follow = demo(pullPolicy="Always")
    world.apply(follow)
    assert world.images is not None
    world.images.registry[NAME], world.images.free_bytes = NEW, 0
    plan = world.plan(follow)
    assert {c.ref.kind: c.codes for c in plan.blocked} == {"Image": ("image_kept",)}
    assert [c for c in plan.changes if c.verb not in (Verb.NO_OP, Verb.BLOCKED)] == []
    chat = next(name for name in world.runtime.things if "chat" in name)
    world.runtime.kill(chat)
    world.apply(follow)
    assert world.answers()
    assert world.images.here[NAME] == OLD


def test_a_locked_image_is_pulled_by_its_digest_and_a_moved_tag_is_drift(world: FakeWorld) -> None:
    assert world.images is not None
    world.images.registry |= {NAME: NEW, f"{NAME}@{OLD.digest}": OLD}
    locked = replace(demo(pullPolicy="Always"), lock=Lock(images={NAME: OLD.digest}))
    world.apply(locked)
    assert world.images.here[NAME] == OLD
    plan = world.plan(locked)
    assert plan.empty
    [line] = [line for change in plan.changes for line in change.drift]
    assert line.startswith("the tag moved aaaaaaa -> bbbbbbb; pinned, unchanged; ")
    assert line.endswith(f"nexusctl models lock --upgrade {NAME}")
    upgraded = replace(locked, lock=Lock(images={NAME: NEW.digest}))
    world.images.registry[f"{NAME}@{NEW.digest}"] = NEW
    change = next(c for c in world.plan(upgraded).changes if c.ref == Ref("Deployment", "chat"))
    assert change.codes == ("image_digest_changed",)
    world.apply(upgraded)
    assert world.images.here[NAME] == NEW
    assert world.plan(upgraded).empty


def test_a_locked_image_that_is_here_needs_no_registry(world: FakeWorld) -> None:
    assert world.images is not None
    world.images.here[NAME] = OLD
    world.images.reachable = False
    locked = replace(demo(), lock=Lock(images={NAME: OLD.digest}))
    world.apply(locked)
    assert world.plan(locked).empty


def test_another_image_than_locked_is_not_used_where_nothing_may_be_pulled(world: FakeWorld) -> None:
    assert world.images is not None
    world.images.here[NAME] = NEW
    plan = world.plan(replace(demo(pullPolicy="Never"), lock=Lock(images={NAME: OLD.digest})))
    assert {str(change.ref): change.codes for change in plan.blocked} == {
        f"Image/{NAME}": ("image_unavailable",),
        "Deployment/chat": ("dependency_blocked",),
        "Route/chat": ("dependency_blocked",),
    }


def test_images_are_locked_as_they_are_here_else_as_the_registry_has_them(world: FakeWorld) -> None:
    assert world.images is not None
    stack = demo()

    def lock(upgrade: bool) -> Lock:
        return relocked(world.world(), stack, frozenset(), upgrade=upgrade, tell=lambda *_: None)

    assert lock(upgrade=False).images == {NAME: OLD.digest}
    world.images.here[NAME] = OLD
    world.images.registry[NAME] = NEW
    assert lock(upgrade=False).images == {NAME: OLD.digest}
    assert lock(upgrade=True).images == {NAME: NEW.digest}


def test_what_the_runtime_made_for_a_stack_goes_also_where_others_ended_its_replicas(world: FakeWorld) -> None:
    """With a replica it goes by the replica's removal; without one nothing else would take it away."""
    gone = Options(delete=frozenset({Ref("Deployment", "chat"), Ref("Route", "chat")}))
    world.apply(demo())
    assert Sweep("demo") not in {node.action for node in world.plan(demo(), gone).nodes}
    for name in [*world.runtime.things]:
        world.runtime.vanish(name)
    assert [node.action for node in world.plan(demo(), gone).nodes].count(Sweep("demo")) == 1
    world.apply(demo(), gone)
    assert ("sweep", "demo") in world.runtime.calls

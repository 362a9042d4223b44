"""Container images in the plan: pulled before anything is created, told apart by digest, followed only when asked."""

from __future__ import annotations

import pytest

from nexus_ctl.engines import table as engines
from nexus_ctl.planning.change import Verb
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.image import LocalImage
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


def test_a_private_registry_gets_its_login_by_reference(world: FakeWorld) -> None:
    assert world.images is not None
    world.images.private[NAME] = world.secrets["GHCR"] = "canary-ghcr"
    assert verbs(world, demo())["Image"] is Verb.BLOCKED
    login = {"username": "robot", "password": {"valueFrom": {"env": "GHCR"}}}
    private = demo(registries={"ghcr.io": login})
    assert "canary-ghcr" not in repr(world.plan(private))
    world.apply(private)
    assert world.images.pulls == [NAME]

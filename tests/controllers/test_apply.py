"""The one way through, on fakes: what is planned is done, what is done stays done, and only what changed is touched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers.endings import Ending
from controllers.looking import Options
from nexus_ctl.errors import Blocked
from nexus_ctl.planning.change import Verb
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.launch import Limits
from nexus_ctl.resources.replica import ReplicaState
from tests.builders import a_deployment, a_model, a_preset, a_route, a_stack, the_demo
from tests.fakes.faults import Gate
from tests.fakes.world import FakeWorld, offer

CHAT = Ref("Deployment", "chat")


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


def the_replica(world: FakeWorld, deployment: str = "chat") -> str:
    [name] = [thing.name for thing in world.runtime.things.values() if thing.deployment == deployment]
    return name


def test_first_apply_makes_everything_in_dependency_order(world: FakeWorld) -> None:
    stack = the_demo()
    offer(world, stack)
    plan = world.plan(stack)
    name = plan.nodes[2].action.replica.name if hasattr(plan.nodes[2].action, "replica") else ""
    lines = str(plan).replace(name or "?", "REPLICA").splitlines()
    kinds = [line.split("#")[1].split(",")[1].strip() for line in lines]
    assert kinds.index("FetchModel") < kinds.index("PinModel") < kinds.index("Publish") < kinds.index("PutRoute")
    assert [change.verb for change in plan.changes] == [Verb.CREATE] * 5

    result = world.apply(stack)
    assert {item.ending for item in result.objects} == {Ending.CREATED}
    assert world.answers()
    assert {ref.kind: a.conditions[-1].status for ref, a in result.assessed.items() if ref.kind != "Deployment"} == {
        "Gateway": "True", "Model": "True", "Preset": "True", "Route": "True",
    }  # fmt: skip


def test_second_apply_has_an_empty_plan_and_not_one_effect(world: FakeWorld) -> None:
    stack = the_demo()
    offer(world, stack)
    world.apply(stack)
    assert world.plan(stack).empty
    gate = Gate(world.clock)
    world.apply(stack, wrap=gate.wrap)
    assert gate.names == ["objects.declare"], (
        "the wish is compared by the store itself, in one call that writes nothing"
    )
    assert world.store.revision() == world.store.revision()


def test_a_preset_change_is_live_and_restarts_nothing(world: FakeWorld) -> None:
    stack = the_demo()
    offer(world, stack)
    world.apply(stack)
    before = world.runtime.things[the_replica(world)].pid
    colder = a_stack(a_model(), a_deployment(), a_preset(temperature=0.2), a_route(preset="precise"))
    plan = world.plan(colder)
    changed = [change for change in plan.changes if change.verb is not Verb.NO_OP]
    assert [(c.ref.kind, c.verb, c.restarts) for c in changed] == [("Preset", Verb.UPDATE, 0)]
    reason = changed[0].reasons[0]
    assert (reason.path, reason.before, reason.after) == ("spec.sampling.temperature", 0.7, 0.2)
    world.apply(colder)
    assert world.runtime.things[the_replica(world)].pid == before
    assert world.routing.table.presets["precise"].params == {"temperature": 0.2}


def test_a_context_change_starts_first_when_both_fit(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo())
    old = the_replica(world)
    gate = Gate(world.clock, watch=lambda: "" if world.answers() else "start-first left the route without a replica")
    result = world.apply(the_demo(context=4096), wrap=gate.wrap)
    [chat] = [item for item in result.objects if item.ref == CHAT]
    assert chat.ending is Ending.REPLACED
    change = next(c for c in result.plan.changes if c.ref == CHAT)
    assert change.verb is Verb.REPLACE_START_FIRST
    assert change.codes == ("field_changed",)
    assert the_replica(world) != old
    assert world.plan(the_demo(context=4096)).empty


def test_auto_stops_first_when_both_do_not_fit(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo())
    world.free_bytes = 10
    change = next(c for c in world.plan(the_demo(context=4096)).changes if c.ref == CHAT)
    assert change.verb is Verb.REPLACE_STOP_FIRST
    assert "insufficient_memory" in change.codes
    assert change.gap is not None
    assert str(change.gap) == "until the new replica is ready: about 2.0s as measured before, at most 10m40s"
    begun = world.clock.monotonic()
    world.apply(the_demo(context=4096))
    assert world.answers()
    assert world.clock.monotonic() - begun <= change.gap.most_seconds


def test_stop_first_brings_the_old_one_back_when_the_new_one_fails(world: FakeWorld) -> None:
    stop_first = {"rollout": {"strategy": "stopFirst"}}
    offer(world, the_demo())
    world.apply(the_demo(**stop_first))
    old = the_replica(world)

    world.runtime.never_ready.add("chat")
    world.runtime.silent.add("chat")
    failing = the_demo(context=4096, **stop_first)

    def heal_for_the_old_one() -> str:
        running = [t for t in world.runtime.things.values() if t.state is ReplicaState.RUNNING and t.deployment]
        if any(t.name == old for t in running):
            world.runtime.never_ready.discard("chat")
        else:
            world.runtime.never_ready.add("chat")
        return ""

    result = world.apply(failing, wrap=Gate(world.clock, watch=heal_for_the_old_one).wrap)
    [chat] = [item for item in result.objects if item.ref == CHAT]
    assert chat.ending is Ending.FAILED
    assert the_replica(world) == old
    assert world.answers()


def test_scaling_is_live_and_takes_the_highest_first(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo(replicas=3))
    names = sorted(t.name for t in world.runtime.things.values())
    assert len(names) == 3
    plan = world.plan(the_demo(replicas=1))
    change = next(c for c in plan.changes if c.ref == CHAT)
    assert change.verb is Verb.UPDATE
    assert change.restarts == 0
    world.apply(the_demo(replicas=1))
    assert [t.name for t in world.runtime.things.values()] == names[:1]
    assert list(world.routing.table.endpoints["chat"]) == names[:1]


def test_a_killed_replica_is_drift_and_is_healed(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo())
    name = the_replica(world)
    world.runtime.kill(name)
    change = next(c for c in world.plan(the_demo()).changes if c.ref == CHAT)
    assert change.verb is Verb.RESTART
    assert change.drift == (f"{name}: running -> exited(137)",)
    world.apply(the_demo())
    assert world.answers()
    assert world.plan(the_demo()).empty


def test_a_replica_that_somebody_removed_is_drift_and_is_healed(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo(replicas=2))
    name = min(thing.name for thing in world.runtime.things.values() if thing.deployment == "chat")
    world.runtime.vanish(name)
    change = next(c for c in world.plan(the_demo(replicas=2)).changes if c.ref == CHAT)
    assert (change.verb, change.codes, change.restarts) == (Verb.RESTART, ("drift_missing",), 1)
    assert change.drift == (f"{name}: running -> vanished",)
    assert not world.plan(the_demo(replicas=2, drift="report")).nodes, "reported, and left"
    world.apply(the_demo(replicas=2))
    assert world.answers()
    assert world.plan(the_demo(replicas=2)).empty


def test_a_paused_replica_is_drift_and_is_let_go_on(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo())
    name, before = the_replica(world), world.runtime.things[the_replica(world)].pid
    world.runtime.pause(name)
    assert not world.answers()
    change = next(c for c in world.plan(the_demo()).changes if c.ref == CHAT)
    assert (change.verb, change.codes, change.restarts) == (Verb.UPDATE, ("drift_paused",), 0)
    assert change.drift == (f"{name}: running -> paused",)
    assert not world.plan(the_demo(drift="report")).nodes, "reported, and left"
    world.apply(the_demo())
    assert world.answers()
    assert world.runtime.things[name].pid == before, "nothing was restarted"
    assert world.plan(the_demo()).empty


def test_a_paused_replica_that_changes_gives_way(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo())
    world.runtime.pause(the_replica(world))
    world.apply(the_demo(context=4096))
    assert world.answers()
    assert [thing.paused for thing in world.runtime.things.values()] == [False]
    assert world.plan(the_demo(context=4096)).empty


def test_limits_that_somebody_changed_are_drift_and_those_in_the_manifest_are_not(world: FakeWorld) -> None:
    def planned(memory: str) -> tuple[list[tuple[str, object, object, str]], tuple[str, ...]]:
        change = next(c for c in world.plan(the_demo(resources={"memory": memory})).changes if c.ref == CHAT)
        return [(one.code, one.before, one.after, one.source) for one in change.reasons], change.drift

    offer(world, the_demo())
    world.apply(the_demo(resources={"memory": "1Gi"}))
    name = the_replica(world)
    assert planned("2Gi") == ([("field_changed", "1Gi", "2Gi", "config")], ()), "said once"
    world.runtime.update(name, Limits(memory_bytes=3 << 30))
    reasons, drift = planned("1Gi")
    assert reasons == [("drift_field", "3Gi", "1Gi", "drift")]
    assert drift == (f"{name}: spec.resources.memory 1Gi -> 3Gi",)
    world.apply(the_demo(resources={"memory": "1Gi"}))
    assert world.plan(the_demo(resources={"memory": "1Gi"})).empty


def test_drift_report_says_so_and_leaves_it(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo(drift="report"))
    world.runtime.kill(the_replica(world))
    change = next(c for c in world.plan(the_demo(drift="report")).changes if c.ref == CHAT)
    assert change.steps == ()
    assert change.drift


def test_a_lost_store_restarts_nothing_and_is_written_again(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo())
    before = world.state()
    pids = [thing.pid for thing in world.runtime.things.values()]
    world.lose_store()
    plan = world.plan(the_demo())
    assert plan.nodes == ()
    world.apply(the_demo())
    assert world.state() == before
    assert [thing.pid for thing in world.runtime.things.values()] == pids
    assert {item.ref.kind for item in world.store.objects.all("demo")} == {"Model", "Deployment", "Preset", "Route"}


def test_delete_runs_in_reverse_and_leaves_the_weights(world: FakeWorld) -> None:
    stack = the_demo()
    offer(world, stack)
    world.apply(stack)
    plan = world.plan(stack, Options(delete=frozenset(stack.resources)))
    order = [change.ref.kind for change in plan.changes]
    assert order.index("Route") < order.index("Deployment") < order.index("Model")
    assert {change.verb for change in plan.changes} == {Verb.DELETE}
    result = world.apply(stack, Options(delete=frozenset(stack.resources)))
    assert {item.ending for item in result.objects} == {Ending.DELETED}
    assert world.runtime.things == {}
    assert world.host.things == {}
    assert world.routing.table.routes == {}
    assert world.artifacts.delivered, "deletionPolicy Retain keeps the bytes"
    assert world.store.objects.all("demo") == ()


def test_deleting_what_is_in_use_is_blocked(world: FakeWorld) -> None:
    stack = the_demo()
    offer(world, stack)
    world.apply(stack)
    [change] = world.plan(stack, Options(delete=frozenset({Ref("Model", "smol")}))).blocked
    assert change.codes == ("in_use",)


def test_undeclared_objects_stay_without_prune_and_go_with_it(world: FakeWorld) -> None:
    stack = a_stack(a_model(), a_deployment(), a_preset(), a_preset("extra"), a_route())
    offer(world, stack)
    world.apply(stack)
    smaller = a_stack(a_model(), a_deployment(), a_preset(), a_route())
    plan = world.plan(smaller)
    assert plan.empty
    assert plan.orphans == (Ref("Preset", "extra"),)
    world.apply(smaller, Options(prune=True))
    assert set(world.routing.table.presets) == {"precise"}


def test_pruning_beyond_the_cap_is_refused(world: FakeWorld) -> None:
    stack = a_stack(a_model(), a_deployment(), a_route(), *(a_preset(f"p{i}") for i in range(9)))
    offer(world, stack)
    world.apply(stack)
    smaller = a_stack(a_model(), a_deployment(), a_route())
    with pytest.raises(Blocked, match="pruning would remove 9 of 12"):
        world.plan(smaller, Options(prune=True))
    world.apply(smaller, Options(prune=True, max_prune=9))
    assert world.routing.table.presets == {}
    with pytest.raises(Blocked, match="declare nothing"):
        world.plan(a_stack(), Options(prune=True))


def test_protection_outlives_the_manifest_and_blocks_only_its_object(world: FakeWorld) -> None:
    stack = a_stack(a_model(), a_deployment(), a_preset(protect="delete"), a_route())
    offer(world, stack)
    world.apply(stack)
    smaller = a_stack(a_model(), a_deployment(), a_route())
    plan = world.plan(smaller, Options(prune=True))
    [blocked] = plan.blocked
    assert (blocked.ref, blocked.codes) == (Ref("Preset", "precise"), ("protected",))
    world.apply(smaller, Options(prune=True))
    assert set(world.routing.table.presets) == {"precise"}
    world.apply(a_stack(a_model(), a_deployment(), a_preset(), a_route()))
    world.apply(smaller, Options(prune=True))
    assert world.routing.table.presets == {}


def test_protection_from_replacement(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo(annotations={"protect": "replace"}))
    before = world.state()
    [blocked] = world.plan(the_demo(context=4096, annotations={"protect": "replace"})).blocked
    assert blocked.codes[0] == "protected"
    world.apply(the_demo(context=4096, annotations={"protect": "replace"}))
    assert world.state() == before


def test_a_rename_keeps_the_replica(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo())
    pid = world.runtime.things[the_replica(world)].pid
    moved = a_stack(
        a_model(),
        a_deployment("talk", annotations={"renamed_from": "chat"}),
        a_preset(),
        a_route("chat", "talk", preset="precise"),
    )
    plan = world.plan(moved)
    verbs = {str(change.ref): change.verb for change in plan.changes}
    assert verbs["Deployment/chat"] is Verb.FORGET
    assert verbs["Deployment/talk"] is Verb.UPDATE
    world.apply(moved)
    [thing] = world.runtime.things.values()
    assert thing.pid == pid
    assert set(world.routing.table.endpoints) == {"talk"}
    assert world.answers()
    assert world.plan(moved).empty


def test_a_newer_nexusctl_restarts_nothing(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo(), version="1.0")
    assert world.plan(the_demo(), version="2.0").empty


def test_a_foreign_thing_with_our_name_is_left_alone_and_named(world: FakeWorld) -> None:
    offer(world, the_demo())
    create = next(
        n for n in world.plan(the_demo()).nodes if type(n.action).__name__ == "CreateReplica" and n.ref == CHAT
    )
    name = create.action.replica.name  # type: ignore[union-attr]
    world.runtime.put_foreign(name)
    blocked = {str(change.ref): change for change in world.plan(the_demo()).blocked}
    assert blocked["Deployment/chat"].codes == ("unowned_exists",)
    assert name in blocked["Deployment/chat"].reasons[0].detail
    world.apply(the_demo())
    assert world.runtime.things[name].owner is None


def test_a_missing_source_blocks_the_model_and_what_needs_it_but_nothing_else(world: FakeWorld) -> None:
    plan = world.plan(the_demo())
    verbs = {str(change.ref): change.verb for change in plan.changes}
    assert verbs == {
        "Model/smol": Verb.BLOCKED,
        "Deployment/chat": Verb.BLOCKED,
        "Preset/precise": Verb.CREATE,
        "Route/chat": Verb.BLOCKED,
        "Gateway/demo": Verb.CREATE,
    }


def test_a_changed_secret_replaces_and_its_value_is_nowhere(world: FakeWorld) -> None:
    canary = "sk-canary-7b1f"
    env = {"env": {"HF_TOKEN": {"valueFrom": {"env": "TOKEN"}}}}
    offer(world, the_demo())
    world.secrets["TOKEN"] = canary
    world.apply(the_demo(**env))
    assert world.runtime.things[the_replica(world)].secrets == {"HF_TOKEN": canary}
    world.secrets["TOKEN"] = "sk-other"
    plan = world.plan(the_demo(**env))
    change = next(c for c in plan.changes if c.ref == CHAT)
    assert change.codes == ("secret_changed",)
    assert canary not in repr(plan) + repr(world.store.objects.all("demo")) + repr(world.runtime.list())


def test_failure_skips_dependents_and_lets_the_rest_go_on(world: FakeWorld) -> None:
    stack = the_demo()
    offer(world, stack)
    world.runtime.fail_start["chat"] = "no such device"
    result = world.apply(stack)
    endings = {str(item.ref): item.ending for item in result.objects}
    assert endings == {
        "Model/smol": Ending.CREATED,
        "Preset/precise": Ending.CREATED,
        "Gateway/demo": Ending.CREATED,
        "Deployment/chat": Ending.FAILED,
        "Route/chat": Ending.SKIPPED,
    }
    world.runtime.fail_start.clear()
    world.apply(stack)
    assert world.answers()


def test_the_lifecycle_is_told_while_work_is_under_way(world: FakeWorld) -> None:
    offer(world, the_demo())
    told: dict[str, list[str]] = {}

    def listen() -> str:
        for item in world.store.objects.all("demo"):
            words = told.setdefault(str(item.ref), [])
            if item.lifecycle and words[-1:] != [item.lifecycle]:
                words.append(item.lifecycle)
        return ""

    world.apply(the_demo(), wrap=Gate(world.clock, watch=listen).wrap)
    listen()
    assert told["Model/smol"] == ["DOWNLOADING", "DOWNLOADED", "READY"]
    assert told["Deployment/chat"] == ["LOADING", "READY"]
    world.apply(the_demo(context=4096), wrap=Gate(world.clock, watch=listen).wrap)
    assert told["Deployment/chat"] == ["LOADING", "READY"], "start-first never stops serving"
    stop_first = the_demo(context=1024, rollout={"strategy": "stopFirst"})
    world.apply(stop_first, wrap=Gate(world.clock, watch=listen).wrap)
    assert told["Deployment/chat"][2:] == ["UNLOADING", "STOPPED", "LOADING", "READY"]


def test_limits_that_the_runtime_cannot_change_live_are_told_before(world: FakeWorld) -> None:
    before, after = the_demo(resources={"memory": "1Gi"}), the_demo(resources={"memory": "2Gi"})
    offer(world, before)
    world.apply(before)
    world.runtime._capabilities = replace(world.runtime.capabilities(), live_limits=False)
    change = next(one for one in world.plan(after).changes if one.ref == CHAT)
    assert change.verb is Verb.BLOCKED
    assert change.codes[0] == "limit_not_supported"
    assert "delete it, and apply again" in change.reasons[0].detail
    world.apply(after, Options(delete=frozenset({CHAT, Ref("Route", "chat")})))
    world.apply(after)
    assert world.answers()
    assert world.plan(after).empty

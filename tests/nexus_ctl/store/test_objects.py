"""What is declared, what becomes a generation, and what a status write may and may not change."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from nexus_ctl.errors import Conflict
from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.envelope import PROTECT, Ref
from nexus_ctl.store.records import Declaration, StoredObject, Suspension
from nexus_ctl.store.store import Store
from tests.fakes.clock import EPOCH, FakeClock

CHAT = Ref("Deployment", "chat")
TINY = Ref("Model", "tiny")
READY = Condition("Ready", "True", "Serving")


def declare(store: Store, spec: dict[str, object], ref: Ref = CHAT, **rest: object) -> StoredObject:
    return store.objects.declare("prod", Declaration(ref, spec, **rest), cause="apply")[0]  # type: ignore[arg-type]


def test_a_first_declaration_stores_everything(store: Store) -> None:
    wish = Declaration(CHAT, {"model": "tiny", "env": {"ä": ["\u2028", 1.5, None]}}, {"team": "a"}, {PROTECT: "all"})
    (declared,) = store.objects.declare("prod", wish, cause="apply", actor="ann", commit="4be19c2", op_id="op1")
    assert declared == store.objects.get("prod", CHAT)
    assert (declared.ref, declared.set, declared.generation, declared.resource_version) == (CHAT, "prod", 1, 1)
    assert (declared.spec, declared.labels, declared.annotations) == (wish.spec, wish.labels, wish.annotations)
    assert declared.protected == {"delete", "replace"}
    assert (declared.conditions, declared.lifecycle, declared.observed_generation) == ((), "", 0)
    assert declared.created_at == declared.updated_at == EPOCH
    (revision,) = store.history.revisions("prod", CHAT)
    assert (revision.number, revision.generation, revision.spec) == (1, 1, wish.spec)
    assert (revision.cause, revision.actor, revision.commit, revision.op_id) == ("apply", "ann", "4be19c2", "op1")


def test_an_equal_declaration_writes_nothing(store: Store, clock: FakeClock) -> None:
    first = declare(store, {"a": 1, "b": 2}, labels={"x": "y"})
    clock.advance(60)
    assert declare(store, {"b": 2, "a": 1}, labels={"x": "y"}) == first
    assert store.revision() == 1


def test_only_another_spec_is_a_generation(store: Store, clock: FakeClock) -> None:
    declare(store, {"a": 1})
    clock.advance(60)
    labelled = declare(store, {"a": 1}, labels={"x": "y"})
    assert (labelled.generation, labelled.resource_version) == (1, 2)
    changed = declare(store, {"a": 2}, labels={"x": "y"})
    assert (changed.generation, changed.resource_version) == (2, 3)
    assert (changed.created_at, changed.updated_at) == (EPOCH, EPOCH + timedelta(seconds=60))
    assert [revision.generation for revision in store.history.revisions("prod", CHAT)] == [1, 2]


def test_many_are_declared_together_or_not_at_all(store: Store) -> None:
    refs = [Ref("Preset", f"p{number}") for number in range(150)]
    wishes = [Declaration(ref, {"n": ref.name}) for ref in refs]
    declared = store.objects.declare("prod", *wishes, cause="apply")
    assert [found.ref for found in declared] == refs
    again = [Declaration(ref, {"n": "other"}) for ref in refs[:-1]]
    with pytest.raises(Conflict):
        store.objects.declare("prod", *again, Declaration(refs[-1], {}, expect=9999), cause="apply")
    assert store.objects.all("prod") == tuple(sorted(declared, key=lambda found: found.ref))


def test_sets_do_not_see_each_other(store: Store) -> None:
    declare(store, {"a": 1})
    store.objects.declare("other", Declaration(CHAT, {"a": 2}), cause="apply")
    assert [found.spec for found in store.objects.all("prod")] == [{"a": 1}]
    assert store.objects.forget("other", CHAT)
    assert store.objects.get("prod", CHAT) is not None


def test_compare_and_swap(store: Store) -> None:
    first = declare(store, {"a": 1}, expect=0)
    with pytest.raises(Conflict, match="resource version 1, expected 0"):
        declare(store, {"a": 2}, expect=0)
    second = declare(store, {"a": 2}, expect=first.resource_version)
    with pytest.raises(Conflict):
        store.objects.write_status("prod", CHAT, [READY], observed_generation=1, expect=first.resource_version)
    assert store.objects.get("prod", CHAT) == second


def test_deletion_is_requested_once_and_membership_stays_until_forgotten(store: Store, clock: FakeClock) -> None:
    declare(store, {"a": 1})
    assert store.objects.request_deletion("prod", CHAT)
    clock.advance(60)
    assert not store.objects.request_deletion("prod", CHAT)
    found = store.objects.get("prod", CHAT)
    assert found is not None
    assert found.deletion_requested_at == EPOCH
    assert store.objects.forget("prod", CHAT)
    assert store.objects.get("prod", CHAT) is None
    assert not store.objects.forget("prod", CHAT)
    assert not store.objects.request_deletion("prod", CHAT)


def test_declaring_takes_a_requested_deletion_back(store: Store) -> None:
    first = declare(store, {"a": 1})
    store.objects.request_deletion("prod", CHAT)
    again = declare(store, {"a": 1})
    assert again.deletion_requested_at is None
    assert (again.generation, again.resource_version) == (1, first.resource_version + 2)


def test_a_forgotten_object_numbers_on(store: Store) -> None:
    declare(store, {"a": 1})
    declare(store, {"a": 2})
    store.objects.forget("prod", CHAT)
    assert [revision.number for revision in store.history.revisions("prod", CHAT)] == [1, 2]
    again = declare(store, {"a": 2})
    assert (again.generation, again.created_at, again.observed_generation) == (3, EPOCH, 0)
    revisions = store.history.revisions("prod", CHAT)
    assert [(revision.number, revision.generation) for revision in revisions] == [(1, 1), (2, 3)]


def test_status_is_written_only_where_it_differs(store: Store, clock: FakeClock) -> None:
    declared = declare(store, {"a": 1})

    def assess(*conditions: Condition, lifecycle: str = "READY", columns: dict[str, str] | None = None) -> bool:
        return store.objects.write_status(
            "prod", CHAT, conditions, observed_generation=1, lifecycle=lifecycle, columns=columns
        )

    drifted = Condition("Drifted", "False", "AsDeclared")
    assert assess(READY, drifted)
    clock.advance(60)
    assert not assess(drifted, READY)
    assert assess(drifted, READY, columns={"GPU": "0"})
    assert assess(drifted, READY, lifecycle="UNLOADING")
    found = store.objects.get("prod", CHAT)
    assert found is not None
    assert (found.lifecycle, found.columns, found.observed_generation) == ("UNLOADING", {}, 1)
    assert found.generation == declared.generation
    assert found.resource_version == declared.resource_version + 3
    assert [condition.last_transition_time for condition in found.conditions] == [EPOCH, EPOCH]
    assert not store.objects.write_status("prod", TINY, [READY], observed_generation=1)


def test_suspension_lives_outside_the_spec_and_ends_by_itself(store: Store, clock: FakeClock) -> None:
    declare(store, {"a": 1})
    until = EPOCH + timedelta(hours=2)
    assert store.objects.suspend("prod", CHAT, "maintenance", until)
    assert declare(store, {"a": 2}).suspended == Suspension("maintenance", until)
    clock.advance(7200)
    assert declare(store, {"a": 2}).suspended is None
    assert not store.objects.resume("prod", CHAT)
    store.objects.suspend("prod", CHAT, "")
    assert store.objects.all("prod")[0].suspended == Suspension("", None)
    assert store.objects.resume("prod", CHAT)
    assert store.objects.all("prod")[0].suspended is None
    assert not store.objects.suspend("prod", TINY, "absent")


def test_rename_moves_object_status_and_history(store: Store) -> None:
    new = Ref("Deployment", "talk")
    declare(store, {"a": 1})
    store.objects.write_status("prod", CHAT, [READY], observed_generation=1, lifecycle="READY")
    moved = store.objects.rename("prod", CHAT, new)
    assert (moved.ref, moved.former_names, moved.generation, moved.lifecycle) == (new, ("chat",), 1, "READY")
    assert store.objects.get("prod", CHAT) is None
    assert [revision.ref for revision in store.history.revisions("prod", new)] == [new]
    assert store.objects.rename("prod", CHAT, new) == moved
    declare(store, {"b": 1})
    with pytest.raises(Conflict, match="Deployment/talk is another object"):
        store.objects.rename("prod", CHAT, new)
    with pytest.raises(Conflict, match="Deployment/none is not there"):
        store.objects.rename("prod", Ref("Deployment", "none"), Ref("Deployment", "new"))


def test_the_store_revision_grows_with_every_change_and_only_then(store: Store) -> None:
    seen = [store.revision()]

    def grew() -> bool:
        seen.append(store.revision())
        return seen[-1] > seen[-2]

    declare(store, {"a": 1})
    assert grew()
    store.objects.all("prod")
    declare(store, {"a": 1})
    assert not grew()
    store.objects.suspend("prod", CHAT, "x")
    assert grew()
    store.objects.forget("prod", CHAT)
    assert grew()


def test_many_threads_lose_no_update(store: Store) -> None:
    declare(store, {"n": -1})

    def work(number: int) -> None:
        store.journal.begin(f"op{number}", 1, set_name="prod", ref=CHAT, action="{}")
        declare(store, {"n": number})
        declare(store, {}, Ref("Preset", f"p{number}"))
        store.journal.done(f"op{number}", 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    chat = store.objects.get("prod", CHAT)
    assert chat is not None
    assert chat.generation == 41
    assert len(store.objects.all("prod")) == 41
    assert store.revision() == 81
    assert store.journal.unfinished("prod") == ()
    assert len(store.journal.audit("prod")) == 40


def test_two_stores_on_one_database_lose_no_update(url: str, open_store: Callable[[str], Store]) -> None:
    stores = [open_store(url) for _ in range(3)]

    def work(number: int) -> None:
        declare(stores[number % 3], {"n": number})

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(30)))
    found = stores[0].objects.get("prod", CHAT)
    assert found is not None
    assert (found.generation, found.resource_version) == (30, 30)

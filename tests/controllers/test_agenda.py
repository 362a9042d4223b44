"""When the loop looks, and what it leaves alone (R21 to R23): pure, so a table says it."""

from __future__ import annotations

from math import inf

from controllers.agenda import Agenda, Attempt, Failure, blind, due, noticed, rested, worked
from nexus_ctl.planning.change import Change, Verb
from nexus_ctl.planning.plan import Plan
from nexus_ctl.resources.envelope import Ref

CHAT, TALK = Ref("Deployment", "chat"), Ref("Deployment", "talk")
AT = {CHAT: 3, TALK: 1}


def plan(**verbs: Verb) -> Plan:
    changes = tuple(Change(Ref("Deployment", name), verb) for name, verb in verbs.items())
    return Plan("demo", "i", changes, ())


def test_a_notice_looks_at_once_but_a_storm_waits_until_it_is_calm() -> None:
    asleep = rested(Agenda(), 100.0, [], resync_seconds=30, chance=0)
    assert asleep.look_at == 130
    assert noticed(asleep, 115).look_at == 115
    assert noticed(asleep, 100.2).look_at == 101, "a second after a look that found nothing"
    assert noticed(Agenda(look_at=5), 10).look_at == 5, "never later than it would have"


def test_the_next_look_is_for_the_first_that_is_due() -> None:
    waiting = Agenda(attempts={CHAT: Attempt(3, 2, 104), TALK: Attempt(1, 1, inf)})
    assert rested(waiting, 100, [7.0, 0.0], resync_seconds=30, chance=0).look_at == 104
    assert rested(waiting, 100, [2.5], resync_seconds=30, chance=0).look_at == 102.5
    assert rested(Agenda(), 100, [], resync_seconds=30, chance=1).look_at == 127, "a tenth sooner by chance"


def test_what_moves_is_due_unless_it_failed_lately_for_this_generation() -> None:
    moving = plan(chat=Verb.RESTART, talk=Verb.NO_OP)
    assert due(Agenda(), moving, AT, 0) == {CHAT}
    failed = Agenda(attempts={CHAT: Attempt(3, 1, 50)})
    assert due(failed, moving, AT, 49) == frozenset()
    assert due(failed, moving, AT, 50) == {CHAT}
    assert due(failed, moving, {CHAT: 4}, 0) == {CHAT}, "another wish has no past"
    assert due(Agenda(), plan(chat=Verb.BLOCKED), AT, 0) == frozenset()


def test_failures_of_one_object_wait_longer_and_longer_and_useless_ones_for_another_wish() -> None:
    agenda, pauses = Agenda(), []
    for _ in range(11):
        agenda = worked(agenda, 0, {CHAT: 3}, [Failure(CHAT, useless=False)])
        pauses.append(agenda.attempts[CHAT].again_at)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert worked(agenda, 0, {CHAT: 4}, [Failure(CHAT, useless=False)]).attempts[CHAT].again_at == 1
    assert worked(agenda, 0, {CHAT: 3}, [Failure(CHAT, useless=True)]).attempts[CHAT].again_at == inf


def test_after_work_it_looks_again_and_what_went_well_rests_a_second() -> None:
    after = worked(Agenda(look_at=0, looks_failed=3), 100, {CHAT: 3, TALK: 1}, [])
    assert (after.look_at, after.looks_failed) == (100, 0)
    assert due(after, plan(chat=Verb.UPDATE), AT, 100.5) == frozenset()
    assert due(after, plan(chat=Verb.UPDATE), AT, 101) == {CHAT}


def test_a_world_that_cannot_be_looked_at_is_asked_less_and_less() -> None:
    agenda, times = Agenda(), []
    for _ in range(7):
        agenda = blind(agenda, 0)
        times.append(agenda.look_at)
    assert times == [1, 2, 4, 8, 16, 30, 30]

"""Downloads against the disk: told in the plan's order, refused together though each alone would fit."""

from __future__ import annotations

from nexus_ctl.planning.change import Change, Verb
from nexus_ctl.planning.disk import admitted
from nexus_ctl.resources.artifact import Room
from nexus_ctl.resources.envelope import Ref

GIB = 1 << 30


def download(name: str, size: int) -> Change:
    return Change(Ref("Model", name), Verb.CREATE, disk_bytes=size)


def test_what_is_free_goes_down_from_one_to_the_next() -> None:
    room = Room("/cache", 212 * GIB, GIB)
    found = admitted([download("a", 5 * GIB), Change(Ref("Preset", "p"), Verb.NO_OP), download("b", 7 * GIB)], room)
    assert [one.notes for one in found] == [
        ("disk free 212.0 GiB -> 207.0 GiB",),
        (),
        ("disk free 207.0 GiB -> 200.0 GiB",),
    ]


def test_two_that_fit_alone_do_not_fit_together() -> None:
    room = Room("/cache", 10 * GIB, GIB, reclaimable_bytes=3 * GIB)
    first, second, third = admitted([download("a", 6 * GIB), download("b", 6 * GIB), download("c", 3 * GIB)], room)
    assert (first.verb, second.verb, third.verb) == (Verb.CREATE, Verb.BLOCKED, Verb.CREATE)
    assert second.codes == ("insufficient_disk",)
    assert second.reasons[0].detail == (
        "needs 6.0 GiB; /cache has 4.0 GiB free, of which 1.0 GiB are kept for everything else "
        "(modelCache.reserve); nexusctl models gc would free 3.0 GiB"
    )


def test_exactly_what_is_there_beside_the_reserve_fits() -> None:
    room = Room("/cache", 10 * GIB, GIB)
    assert [one.verb for one in admitted([download("a", 9 * GIB)], room)] == [Verb.CREATE]
    assert [one.verb for one in admitted([download("a", 9 * GIB + 1)], room)] == [Verb.BLOCKED]


def test_without_a_look_nothing_is_judged() -> None:
    assert admitted([download("a", GIB)], None) == [download("a", GIB)]

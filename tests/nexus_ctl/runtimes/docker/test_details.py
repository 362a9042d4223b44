"""What is remembered of a container between two lists, and what makes it read again; no engine is needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from nexus_ctl.resources.replica import ObservedReplica, ReplicaState
from nexus_ctl.runtimes.docker.details import KEPT_SECONDS, Details
from tests.fakes.clock import FakeClock


def row(**shown: Any) -> dict[str, Any]:
    port = {"PrivatePort": 8080, "PublicPort": 40001, "Type": "tcp"}
    return {"Id": "c1", "Names": ["/chat"], "State": "running", "Status": "Up 1 second", "Ports": [port]} | shown


@dataclass
class Reader:
    """Stands for one inspection of the engine, and counts them."""

    asked: list[str] = field(default_factory=list)

    def __call__(self, runtime_id: str) -> ObservedReplica:
        self.asked.append(runtime_id)
        return ObservedReplica(f"read-{len(self.asked)}", runtime_id, None, ReplicaState.RUNNING)


@pytest.mark.parametrize(
    ("before", "after", "reads"),
    [
        (row(), row(Status="Up 2 hours"), 1),
        (row(), row(State="exited", Status="Exited (0) 1 second ago"), 2),
        (row(), row(Names=["/chat-2"]), 2),
        (row(), row(Ports=[{"PrivatePort": 8080, "PublicPort": 40002}]), 2),
        (
            row(State="exited", Status="Exited (0) 1 second ago"),
            row(State="exited", Status="Exited (0) 2 hours ago"),
            1,
        ),
        (row(State="exited", Status="Exited (0) 1 hour ago"), row(State="exited", Status="Exited (137) 1 hour ago"), 2),
        (row(), row(Id="c2"), 2),
    ],
    ids=["age", "state", "name", "port", "age since its end", "exit code", "another container"],
)
def test_it_is_read_again_when_the_list_shows_more_than_age(
    before: dict[str, Any], after: dict[str, Any], reads: int
) -> None:
    details, read = Details(FakeClock()), Reader()
    details.of(before, read)
    told = details.of(after, read)
    assert told is not None
    assert (len(read.asked), told.name) == (reads, f"read-{reads}")


@pytest.mark.parametrize(("seconds", "reads"), [(KEPT_SECONDS - 1, 1), (KEPT_SECONDS, 2)])
def test_it_is_kept_for_a_while_and_no_longer(seconds: float, reads: int) -> None:
    clock, read = FakeClock(), Reader()
    details = Details(clock)
    details.of(row(), read)
    clock.advance(seconds)
    details.of(row(), read)
    assert len(read.asked) == reads


@pytest.mark.parametrize(("forgotten", "asked"), [("c1", ["c1"]), ("", ["c1", "c2"])], ids=["one", "all"])
def test_what_is_forgotten_is_read_again(forgotten: str, asked: list[str]) -> None:
    details, read = Details(FakeClock()), Reader()
    for runtime_id in ("c1", "c2"):
        details.of(row(Id=runtime_id), read)
    details.forget(forgotten)
    again = Reader()
    for runtime_id in ("c1", "c2"):
        details.of(row(Id=runtime_id), again)
    assert again.asked == asked


def test_what_was_read_before_an_event_is_not_kept_after_it() -> None:
    details, read = Details(FakeClock()), Reader()

    def overtaken(runtime_id: str) -> ObservedReplica:
        details.forget(runtime_id)
        return read(runtime_id)

    details.of(row(), overtaken)
    details.of(row(), read)
    assert len(read.asked) == 2


def test_a_container_that_went_meanwhile_is_none_and_asked_for_again() -> None:
    details, read = Details(FakeClock()), Reader()
    assert details.of(row(), lambda _: None) is None
    assert details.of(row(), read) is not None


def test_only_what_is_still_there_is_kept() -> None:
    details, read = Details(FakeClock()), Reader()
    for runtime_id in ("c1", "c2"):
        details.of(row(Id=runtime_id), read)
    details.keep_only(["c1", "c3"])
    again = Reader()
    for runtime_id in ("c1", "c2"):
        details.of(row(Id=runtime_id), again)
    assert again.asked == ["c2"]

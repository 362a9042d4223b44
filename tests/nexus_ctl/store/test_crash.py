"""`kill -9` at every statement of every write: the database holds what was before or what was meant, never between.

A child process is forked, opens the store, and kills itself before its k-th statement (or commit); k grows until the
write survives. On PostgreSQL the server sees the client vanish.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest
from sqlalchemy import Engine, event, text

from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.store.records import Declaration, Event
from nexus_ctl.store.store import Store
from tests.fakes.clock import FakeClock

CHAT = Ref("Deployment", "chat")
TALK = Ref("Deployment", "talk")
READY = Condition("Ready", "True", "Serving")

WRITES: dict[str, Callable[[Store], object]] = {
    "declare": lambda store: store.objects.declare(
        "prod", Declaration(CHAT, {"n": 2}), Declaration(Ref("Model", "m"), {"n": 2}), cause="apply"
    ),
    "declare back": lambda store: store.objects.declare("prod", Declaration(CHAT, {"n": 0}), cause="rollback"),
    "rename": lambda store: store.objects.rename("prod", CHAT, TALK),
    "forget": lambda store: store.objects.forget("prod", CHAT),
    "status": lambda store: store.objects.write_status("prod", CHAT, [READY], observed_generation=1),
    "begin": lambda store: store.journal.begin("op", 2, set_name="prod", ref=CHAT, action="{}"),
    "done": lambda store: store.journal.done("op", 1),
    "event": lambda store: store.events.emit(Event("Normal", "Started", "up", "prod", CHAT)),
}


def prepare(store: Store) -> None:
    """Two revisions, a history of two, an effect under way, an event."""
    for number in (0, 1):
        store.objects.declare("prod", Declaration(CHAT, {"n": number}), cause="apply")
    store.journal.begin("op", 1, set_name="prod", ref=CHAT, action="{}")
    store.events.emit(Event("Normal", "Started", "up", "prod", CHAT))


def contents(store: Store) -> tuple[object, ...]:
    """Everything a caller can read, but for the ids of audit lines: a server's sequence may leave gaps."""
    histories = tuple(store.history.revisions("prod", ref) for ref in (CHAT, TALK, Ref("Model", "m")))
    audit = [replace(line, id=0) for line in store.journal.audit("prod")]
    journal = (store.journal.unfinished("prod"), audit)
    return store.objects.all("prod"), histories, journal, store.events.read("prod"), store.revision()


def killed_before_statement(number: int, url: str, write: Callable[[Store], object]) -> bool:
    """Write in a child that kills itself before that statement or commit; False when the write ended before."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            steps = count()
            armed: list[bool] = []

            def step(*_: object, **__: object) -> None:
                if armed and next(steps) == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            event.listen(Engine, "before_cursor_execute", step)
            event.listen(Engine, "commit", step)
            store = Store.open(url, FakeClock())
            armed.append(True)
            write(store)
            status = 0
        finally:
            os._exit(status)
    _, outcome = os.waitpid(child, 0)
    if os.WIFSIGNALED(outcome):
        assert os.WTERMSIG(outcome) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(outcome) == 0, "the child failed by itself"
    return False


@pytest.mark.parametrize("name", WRITES)
def test_before_or_after(name: str, url: str, open_store: Callable[[str], Store]) -> None:
    with open_store("sqlite://") as model:
        prepare(model)
        before = contents(model)
        WRITES[name](model)
        after = contents(model)
    assert before != after
    with open_store(url) as store:
        prepare(store)
    for number in count():
        killed = killed_before_statement(number, url, WRITES[name])
        with open_store(url) as store:
            assert store.warnings == ()
            assert contents(store) == (before if killed else after)
        if not killed:
            break
    assert number >= 2, "there was nothing to interrupt"


def test_what_was_acknowledged_is_there(url: str, open_store: Callable[[str], Store]) -> None:
    """A child journals as fast as it can and is killed at whatever it does; no acknowledged effect is lost."""
    open_store(url).close()
    for round_number in range(5):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                store = Store.open(url, FakeClock())
                for seq in count():
                    store.journal.begin(f"op{round_number}", seq, set_name="prod", ref=CHAT, action="{}")
                    os.write(writer, b"b")
                    store.journal.done(f"op{round_number}", seq)
                    os.write(writer, b"d")
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as acknowledged:
            seen = acknowledged.read(10 + 7 * round_number)
            os.kill(child, signal.SIGKILL)
            seen += acknowledged.read()
        _, outcome = os.waitpid(child, 0)
        assert os.WIFSIGNALED(outcome), "the child failed by itself"
        with open_store(url) as store:
            wait_for_the_servers_last_word(store)
            ended = sum(line.op_id == f"op{round_number}" for line in store.journal.audit("prod"))
            open_ones = [left for left in store.journal.unfinished("prod") if left.op_id == f"op{round_number}"]
            begun = ended + len(open_ones)
            assert seen.count(b"b") <= begun <= seen.count(b"b") + 1
            assert seen.count(b"d") <= ended <= seen.count(b"d") + 1
            assert len(open_ones) <= 1
            for left in open_ones:
                store.journal.failed(left.op_id, left.seq, "interrupted")


def wait_for_the_servers_last_word(store: Store) -> None:
    """A server may still be committing what the killed client sent last: wait until its session is gone."""
    with store.database.read() as connection:
        if connection.dialect.name != "postgresql":
            return
    sessions = text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    for _ in range(2000):
        with store.database.read() as connection:
            if connection.execute(sessions).scalar() == 1:
                return
            connection.execute(text("SELECT pg_sleep(0.01)"))
    pytest.fail("the session of a dead client lives on")

"""The keys that engines ask for: in memory, for their owner alone, one for each replica; the fake keeps them alike."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexus_ctl import volatile
from nexus_ctl.errors import MachineError, Terminal
from nexus_ctl.routing.keys import KeyFiles
from nexus_ctl.routing.port import Keys
from tests.fakes.routing import FakeKeys


@pytest.fixture
def files(tmp_path: Path) -> Iterator[KeyFiles]:
    made = KeyFiles(tmp_path / "table.json")
    yield made
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture(params=["files", "fake"])
def keys(request: pytest.FixtureRequest, files: KeyFiles) -> Keys:
    made: Keys = {"files": lambda: files, "fake": FakeKeys}[request.param]()
    return made


def test_a_key_is_kept_until_it_is_dropped(keys: Keys) -> None:
    assert (keys.all(), keys.of("chat-0")) == ({}, "")
    keys.put("chat-0", "first")
    keys.put("chat-1", "other")
    keys.put("chat-0", "second")
    assert keys.all() == {"chat-0": "second", "chat-1": "other"}
    keys.drop("chat-0")
    keys.drop("chat-0")
    assert (keys.all(), keys.of("chat-0"), keys.of("chat-1")) == ({"chat-1": "other"}, "", "other")


def test_the_gateway_finds_them_by_its_table_and_nobody_else_may_read(files: KeyFiles, tmp_path: Path) -> None:
    assert files.changed_ns() == 0
    files.put("chat-0", "canary")
    assert KeyFiles(tmp_path / "table.json").all() == {"chat-0": "canary"}
    assert KeyFiles(tmp_path / "other" / "table.json").all() == {}
    assert files.changed_ns() > 0
    assert stat.S_IMODE((files.folder / "chat-0").stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (files.folder, files.folder.parent)] == [0o700, 0o700]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "none of it is on a disk"
    files.drop("chat-0")
    assert list(files.folder.iterdir()) == []


def test_what_a_killed_writer_left_is_no_key(files: KeyFiles) -> None:
    files.put("chat-0", "whole")
    (files.folder / ".chat-1").write_text("ha")
    assert files.all() == {"chat-0": "whole"}
    files.put("chat-1", "whole")
    assert files.all() == {"chat-0": "whole", "chat-1": "whole"}


def test_a_disk_is_no_place_for_a_key(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="is not a tmpfs here") as refused:
        KeyFiles(tmp_path / "table.json", memory=tmp_path).put("chat-0", "canary")
    assert "canary" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_comers_and_goers_do_not_hinder_each_other(files: KeyFiles) -> None:
    def come_and_go(replica: str) -> str:
        for _ in range(200):
            files.put(replica, replica)
            assert files.of(replica) == replica
            files.drop(replica)
        return replica

    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(come_and_go, "abcd"))) == 4
    assert list(files.folder.iterdir()) == []


def test_where_there_is_no_room_that_is_said_without_the_key(files: KeyFiles) -> None:
    volatile.made()
    files.folder.write_text("in the way")
    try:
        with pytest.raises(MachineError, match="cannot keep a key") as refused:
            files.put("chat-0", "canary")
        assert "canary" not in str(refused.value)
    finally:
        files.folder.unlink()

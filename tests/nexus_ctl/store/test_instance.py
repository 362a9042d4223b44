"""The install id is made once, whole, and never anew."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexus_ctl.clock import SystemIds
from nexus_ctl.errors import MachineError
from nexus_ctl.store.instance import INSTANCE, instance_id
from tests.fakes.ids import FakeIds


def test_it_is_random_and_stays(tmp_path: Path) -> None:
    first = instance_id(tmp_path / "a", SystemIds())
    assert INSTANCE.fullmatch(first)
    assert instance_id(tmp_path / "a", SystemIds()) == first
    assert instance_id(tmp_path / "b", SystemIds()) != first
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["instance"]


def test_all_who_race_to_make_it_agree(tmp_path: Path) -> None:
    for number in range(20):
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _, n=number: instance_id(tmp_path / str(n), SystemIds()), range(8)))
        assert len(found) == 1


@pytest.mark.parametrize("content", ["", "12345678901", "ABCDEF123456", "\ufffd\n"])
def test_a_damaged_file_is_never_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "instance").write_text(content)
    with pytest.raises(MachineError, match="does not hold an instance id") as caught:
        instance_id(tmp_path, FakeIds())
    assert "nexusctl/instance" in caught.value.hint
    assert (tmp_path / "instance").read_text() == content


def test_an_impossible_directory_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"Not a directory|File exists"):
        instance_id(tmp_path / "file" / "x", FakeIds())

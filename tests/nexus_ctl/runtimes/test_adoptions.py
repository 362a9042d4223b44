"""Records of what was taken over: by id, in one file, whoever writes at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import ObservedReplica, ReplicaState
from nexus_ctl.runtimes.adoptions import Adoptions

OWNER = Ownership("install-1", "demo", "Deployment", "chat", 0, "v1:0123456789abcdef", '{"model":"smol"}')


def seen(runtime_id: str, owner: Ownership | None = None) -> ObservedReplica:
    return ObservedReplica("legacy", runtime_id, owner, ReplicaState.RUNNING)


def test_a_record_speaks_of_one_id(tmp_path: Path) -> None:
    records = Adoptions(tmp_path / "adopted.json")
    records.put("legacy", "1", OWNER)
    again = Adoptions(tmp_path / "adopted.json")
    assert again.owned(seen("1")) == seen("1", OWNER)
    assert again.owned(seen("2")) == seen("2")
    assert (again.is_another(seen("1")), again.is_another(seen("2"))) == (False, True)
    assert not again.is_another(seen("2", OWNER)), "labels of its own say whose it is"
    again.drop("legacy")
    assert records.all() == {}
    assert not records.is_another(seen("2"))


def test_nothing_is_lost_when_many_take_over_at_once(tmp_path: Path) -> None:
    records = Adoptions(tmp_path / "adopted.json")
    names = [f"legacy-{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: records.put(name, name, OWNER), names))
        list(pool.map(records.drop, names[::2]))
    assert sorted(records.all()) == sorted(names[1::2])


def test_a_file_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "adopted.json").write_text("[")
    assert Adoptions(tmp_path / "adopted.json").all() == {}

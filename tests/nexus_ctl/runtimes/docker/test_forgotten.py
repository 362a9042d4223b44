"""Control groups as kernels write them; the engine's own test is in `test_engine_crash.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_ctl.runtimes.docker.forgotten import Forgotten, forgotten

ID = "ab" * 32
GROUPS = {
    "v1": f"4:memory:/docker/{ID}\n3:cpu:/docker/{ID}\n",
    "v2": f"0::/docker/{ID}\n",
    "v2 under systemd": f"0::/system.slice/docker-{ID}.scope\n",
    "rootless": f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope\n",
}


def put(proc: Path, pid: int, cgroup: str) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "cgroup").write_text(cgroup)
    (proc / str(pid) / "cmdline").write_bytes(b"llama-server\0--model\0/models/m.gguf\0")


@pytest.mark.parametrize("cgroup", GROUPS.values(), ids=GROUPS.keys())
def test_a_process_of_an_unknown_container(tmp_path: Path, cgroup: str) -> None:
    put(tmp_path, 40, cgroup)
    put(tmp_path, 7, cgroup)
    (tmp_path / "self").mkdir()
    (tmp_path / "99").mkdir()
    command = "llama-server --model /models/m.gguf"
    assert forgotten([], tmp_path) == (Forgotten(7, ID, command), Forgotten(40, ID, command))
    assert forgotten({ID}, tmp_path) == ()


def test_an_ordinary_process_is_none(tmp_path: Path) -> None:
    put(tmp_path, 7, "0::/user.slice/user-1000.slice/session-2.scope\n")
    put(tmp_path, 8, f"0::/build/{ID}/inner\n")
    assert forgotten([], tmp_path) == ()

"""`kill -9` of a whole `nexusctl apply` while it downloads from a hub: the next one goes on there, and is right."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from nexus_ctl.planning.sizes import human_bytes
from tests.e2e.conftest import Workspace, eventually
from tests.fakes.hub import FakeHub

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

REPO = "acme/big-GGUF"
CONTENT = random.Random(31).randbytes(24 << 20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RATE = 16 << 20
"""Slow enough to be met on the way; the declared limit is what makes it so."""
CUTS = [1, 3_000_000, 11_111_111, 20_000_000]


def _partial_bytes(cache: Path) -> int:
    return sum(path.stat().st_size for path in cache.glob("partial/*.part"))


def test_an_apply_killed_at_any_byte_of_a_download_goes_on_there(workspace: Workspace) -> None:
    cache = workspace.folder / "cache"
    with FakeHub() as hub:
        commit = hub.commit(REPO, {"big.gguf": CONTENT})
        workspace.environ |= {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(workspace.folder / "hf")}
        workspace.environ |= {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
        settings = {**workspace.documents["Stack/e2e"], "downloads": {"bytesPerSecond": RATE}}
        source = {"huggingFace": {"repo": REPO, "files": ["*.gguf"]}}
        workspace.documents = {"Stack/e2e": settings, "Model/big": {"source": source}}
        workspace.write()
        workspace.ok("models", "lock")
        assert hub.sent_by_storage == 0
        for cut in CUTS:
            apply = workspace.popen("apply", "--yes")
            eventually(lambda at=cut: _partial_bytes(cache) >= at, f"{cut} bytes are here")
            apply.kill()
            apply.communicate()
            here = _partial_bytes(cache)
            assert cut <= here < len(CONTENT)
            assert list(cache.glob("blobs/*")) == list(cache.glob("records/*")) == [], (
                "no part is ever visible as whole"
            )
            verdicts = workspace.run("models", "verify", "-o", "json")
            assert (verdicts.code, verdicts.json()[0]["state"]) == (1, "missing")
            assert f"({human_bytes(here)} already here)" in workspace.ok("plan").out
        workspace.apply()
        ranges = [one.range for one in hub.log if one.path.startswith("/storage/")]
    begins = [int(one.removeprefix("bytes=").removesuffix("-") or 0) for one in ranges]
    assert len(begins) == len(CUTS) + 1
    assert begins[0] == 0
    assert all(begin >= cut for begin, cut in zip(begins[1:], CUTS, strict=True)), "what was here was not asked for"
    assert begins == sorted(begins)
    [blob] = cache.glob("blobs/*")
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == SHA256
    assert list(cache.glob("partial/*")) == []
    assert workspace.ok("models", "verify").out.splitlines()[1].split()[2] == "ok"
    [record] = cache.glob("records/*.json")
    assert json.loads(record.read_text())["hub"]["commit"] == commit
    assert workspace.run("plan", "--detailed-exitcode").code == 0

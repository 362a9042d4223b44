"""`models lock`, `verify`, `diff`, and plans and applies that are held to a lock, over a world of fakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nexus_ctl.artifacts.records import Layout, Record, StoredFile
from nexus_ctl.errors import Retryable
from nexus_ctl.resources.artifact import HEADROOM_BYTES, Pin, Request, Upstream
from nexus_ctl.resources.model import HuggingFaceSource, Source
from tests.fakes.workspace import CommandLine
from tests.nexus_ctl.cli.conftest import DEMO

Write = Callable[..., Path]
HUB = DEMO.replace(
    'spec: {source: {url: "http://models.test/smol.gguf"}}', "spec: {source: {huggingFace: {repo: acme/smol}}}"
)
SMOL = Request(Source(hugging_face=HuggingFaceSource(repo="acme/smol")))
OLD_COMMIT, NEW_COMMIT = "1a2b3c4" + "0" * 33, "5d6e7f8" + "0" * 33


@pytest.fixture
def hub(nexusctl: CommandLine, write: Write) -> CommandLine:
    """The demo, its model from a hub whose main is OLD_COMMIT."""
    write(HUB)
    nexusctl.world.artifacts.commits[SMOL.key] = OLD_COMMIT
    return nexusctl


def move(hub: CommandLine) -> None:
    """The branch moves; the fake's sources are put anew by each command, so the new content is another source's."""
    hub.world.artifacts.commits[SMOL.key] = NEW_COMMIT
    hub.world.artifacts.moved[SMOL.key] = Upstream("main", OLD_COMMIT, NEW_COMMIT, 3, 5 << 30)


def lock_file(line: CommandLine) -> Path:
    return line.folder / "nexus.lock"


def test_a_lock_is_written_once_and_stays(hub: CommandLine) -> None:
    assert hub.ok("models", "lock").out == "nexus.lock written (1 model, 0 images)\n"
    text = lock_file(hub).read_text()
    assert OLD_COMMIT in text
    assert hub.ok("models", "lock").out == "nexus.lock unchanged (1 model, 0 images)\n"
    assert hub.ok("models", "lock", "--check").code == 0
    hub.world.artifacts.commits[SMOL.key] = NEW_COMMIT
    hub.ok("models", "lock", "smol")
    assert lock_file(hub).read_text() == text, "an entry that stands is not moved unasked"
    assert hub("models", "lock", "--upgrade", "--check").code == 1
    assert lock_file(hub).read_text() == text
    hub.ok("models", "lock", "--upgrade", "smol")
    assert NEW_COMMIT in lock_file(hub).read_text()


def test_locking_what_runs_changes_nothing(hub: CommandLine) -> None:
    hub.ok("apply")
    hub.ok("models", "lock")
    assert hub.ok("plan").out.splitlines()[-1] == "Plan: 5 unchanged; 0 restarts."
    assert "added" not in hub.ok("apply").err


def test_apply_adds_what_it_brings_to_a_lock_that_is_there(hub: CommandLine, write: Write) -> None:
    hub.ok("apply")
    assert not lock_file(hub).exists(), "without a lock nothing is locked unasked"
    hub.ok("models", "lock")
    second = (
        "---\napiVersion: nexus/v1\nkind: Model\nmetadata: {name: extra}\nspec: {source: {url: 'http://m.test/x'}}\n"
    )
    write(HUB + second)
    assert hub("plan", "--locked").code == 2
    done = hub("apply", "--locked")
    assert (done.code, hub.world.artifacts.fetches) == (2, 1)
    assert "error[not-locked]" in done.err
    assert "nexus.yaml:27:18" in done.err
    assert "nexusctl models lock extra" in done.err
    assert "nexus.lock: added extra; review and commit it" in hub.ok("apply").err
    assert hub.ok("apply", "--locked").code == 0
    write(HUB)
    hub.ok("models", "lock", "smol")
    assert "extra" in lock_file(hub).read_text(), "a named lock touches nothing else"
    hub.ok("models", "lock")
    assert "extra" not in lock_file(hub).read_text()


def test_a_manifest_that_contradicts_the_lock_is_refused_before_anything(hub: CommandLine, write: Write) -> None:
    hub.ok("models", "lock")
    write(HUB.replace("repo: acme/smol}", "repo: acme/smol, revision: v2}"))
    for words in (["plan"], ["apply", "--yes"], ["validate"], ["validate", "-o", "json"]):
        done = hub(*words)
        assert done.code == 2
        assert "lock-contradicted" in done.err + done.out
        assert "pins source.huggingFace.revision 'main'" in done.err + done.out
    assert hub.ok("get", "models").code == 0, "looking is not held up"
    hub.ok("models", "lock", "smol")
    assert hub.ok("plan").code == 0


def test_a_damaged_lock_is_refused_with_its_place(hub: CommandLine) -> None:
    hub.ok("models", "lock")
    lock_file(hub).write_text(lock_file(hub).read_text().replace("version: 1", "version: one"))
    for words in (["plan"], ["apply"], ["models", "lock"], ["models", "verify"], ["models", "diff", "nexus.lock"]):
        done = hub(*words)
        assert done.code == 2
        assert "nexus.lock:2:10" in done.err


def test_a_moved_branch_is_drift_and_no_change(hub: CommandLine) -> None:
    hub.ok("apply")
    hub.ok("models", "lock")
    move(hub)
    text = hub.ok("plan").out
    assert (
        "Changed outside nexusctl:\n"
        "  !   Model/smol  revision main moved 1a2b3c4 -> 5d6e7f8 (3 files, 5.0 GiB); pinned, unchanged; "
        "to follow it: nexusctl models lock --upgrade smol\n"
    ) in text
    assert hub("plan", "--detailed-exitcode").code == 0
    before = hub.world.artifacts.looks
    hub.ok("apply")
    assert hub.world.artifacts.looks == before + 1, "once before acting; the look afterwards asks nobody"
    rows = hub.ok("get", "models", "-o", "json").out
    assert '"reason": "RevisionMoved"' in rows


def test_without_a_lock_the_way_on_is_refresh(hub: CommandLine) -> None:
    hub.ok("apply")
    move(hub)
    assert "pinned, unchanged; to follow it: nexusctl apply --refresh\n" in hub.ok("plan").out


def test_a_branch_that_could_not_be_looked_at_is_said_with_when(hub: CommandLine) -> None:
    hub.ok("apply")
    seen = Upstream("main", OLD_COMMIT, OLD_COMMIT, seen_at="2026-01-01T08:15:00+00:00", error="no route to host")
    hub.world.artifacts.moved[SMOL.key] = seen
    line = "  Model/smol  whether main moved is unknown: no route to host; it had not on 2026-01-01T08:15\n"
    assert line in hub.ok("plan").out
    hub.world.artifacts.moved[SMOL.key] = replace(seen, seen_at="")
    assert "no route to host; it was never looked at" in hub.ok("plan").out
    assert "unknown" not in hub.ok("get", "models", "-o", "json").out


def test_a_plan_says_that_a_pin_holds(hub: CommandLine) -> None:
    hub.ok("models", "lock")
    assert "        pinned by the lock at 1a2b3c4\n" in hub.ok("plan").out


def test_verify_tells_what_is_not_what_it_should_be(hub: CommandLine) -> None:
    hub.ok("apply")
    assert hub.ok("models", "verify").out.splitlines()[1].split()[:3] == ["smol", "file", "ok"]
    hub.world.artifacts.wrong.add(SMOL.key)
    done = hub("models", "verify", "smol")
    assert done.code == 1
    assert " expected, sha256:ffff" in done.out
    assert "put aside in /cache/bad/file" in done.out
    assert "run\n  nexusctl apply" in done.err
    hub.ok("apply")
    [row] = hub.ok("models", "verify", "-o", "json").json()
    assert (row["model"], row["state"], row["sizeBytes"], row["putAside"]) == ("smol", "ok", 1000, None)


def test_a_model_that_never_came_is_missing(hub: CommandLine) -> None:
    done = hub("models", "verify")
    assert done.code == 1
    assert done.out.splitlines()[1].split()[:3] == ["smol", "-", "missing"]
    assert hub("models", "verify", "smoll").code == 2


QUANTIZED = HUB.replace("repo: acme/smol}}}", "repo: acme/smol}}, quantize: {type: Q4_K_M}}")


def digest_in(line: CommandLine) -> str:
    return lock_file(line).read_text().rpartition("digest: ")[2].strip()


def test_what_is_built_is_locked_before_the_build_and_after_it(hub: CommandLine, write: Write) -> None:
    write(QUANTIZED)
    hub.ok("models", "lock")
    text = lock_file(hub).read_text()
    assert "version: 2\n" in text
    assert "    builds:\n    - quantize: Q4_K_M\n" in text
    assert text.endswith("      tool: a tool 1.0\n      size: 500\n"), "its digest is not known yet"
    assert "nexus.lock: added smol; review and commit it" in hub.ok("apply").err
    [row] = [one for one in hub.ok("models", "verify", "-o", "json").json() if one["model"] == "smol"]
    assert (row["state"], row["expected"]) == ("ok", digest_in(hub))
    text = lock_file(hub).read_text()
    hub.ok("models", "lock")
    hub.ok("apply", "--locked")
    assert lock_file(hub).read_text() == text


def test_a_lock_of_an_older_release_gets_its_builds_by_the_next_apply(hub: CommandLine, write: Write) -> None:
    hub.ok("models", "lock")
    assert "version: 1\n" in lock_file(hub).read_text()
    write(QUANTIZED)
    assert hub.ok("plan", "--locked").code == 0
    hub.ok("apply", "--locked")
    assert "builds" not in lock_file(hub).read_text(), "with --locked it is only read"
    assert "added smol" in hub.ok("apply").err
    assert digest_in(hub).startswith("sha256:")


def test_another_tool_is_told_and_with_locked_refused(hub: CommandLine, write: Write) -> None:
    write(QUANTIZED)
    hub.ok("models", "lock")
    hub.ok("apply")
    before, text = digest_in(hub), lock_file(hub).read_text()
    running = dict(hub.world.runtime.things)
    hub.world.artifacts.delivered.clear()
    hub.world.artifacts.tool = "a tool 2.0"
    plan = hub.ok("plan", "--locked").out
    assert f"the lock pins {before[7:14]}, which a tool 1.0 made; any other is refused" in plan
    done = hub("apply", "--locked", "--yes")
    assert done.code == 4
    assert "model/smol failed" in done.out
    assert "by a tool 2.0 came to sha256:" in done.err
    assert f"the lock pins {before}, which a tool 1.0 made" in done.err
    assert "nexusctl models lock --rebuilt" in done.err
    assert hub.ok("get", "model/smol").out.splitlines()[1].split()[1] == "False"
    assert dict(hub.world.runtime.things).keys() == running.keys()

    assert hub.ok("apply", "--yes").code == 0, "who is not held to the lock may have it"
    assert lock_file(hub).read_text() == text, "and the lock stays until a person moves it"
    out = hub.ok("plan").out
    assert "Model/smol  quantize Q4_K_M came to " in out
    assert "to pin what is here: nexusctl models lock --rebuilt smol" in out
    assert '"reason": "BuildDiffers"' in hub.ok("get", "models", "-o", "json").out
    verdict = hub("models", "verify")
    assert (verdict.code, "differs" in verdict.out, "1 built otherwise than locked" in verdict.err) == (1, True, True)

    hub.ok("models", "lock")
    assert lock_file(hub).read_text() == text
    hub.ok("models", "lock", "--rebuilt")
    assert digest_in(hub) != before
    assert OLD_COMMIT in lock_file(hub).read_text()
    diff = hub("models", "diff", "-", stdin=text)
    assert diff.code == 1
    assert (
        f"    ~ quantize Q4_K_M  {before[7:14]} -> {digest_in(hub)[7:14]}, 500 B, by a tool 1.0 -> by a tool 2.0"
        in diff.out
    )
    assert "replaces Deployment/chat" in diff.out
    assert hub.ok("apply", "--locked").code == 0
    assert hub.ok("models", "verify").code == 0


def test_a_plan_that_was_saved_with_locked_is_carried_out_so(hub: CommandLine, write: Write) -> None:
    write(QUANTIZED)
    hub.ok("models", "lock")
    hub.ok("apply")
    hub.world.artifacts.delivered.clear()
    hub.world.artifacts.tool = "a tool 2.0"
    hub.ok("plan", "--locked", "--out", "plan.json")
    done = hub("apply", "--plan", "plan.json")
    assert (done.code, "by a tool 2.0 came to sha256:" in done.err) == (4, True)


def test_another_recipe_than_locked_is_refused(hub: CommandLine, write: Write) -> None:
    write(QUANTIZED)
    hub.ok("models", "lock")
    write(QUANTIZED.replace("Q4_K_M", "Q5_K_M"))
    done = hub("plan")
    assert done.code == 2
    assert "spec.quantize.type" in done.err
    assert "pins quantize.type 'Q4_K_M'" in done.err
    hub.ok("models", "lock", "smol")
    assert "quantize: Q5_K_M" in lock_file(hub).read_text()
    assert hub.ok("plan").code == 0


def test_verify_remote_tells_what_the_sources_have_now(hub: CommandLine) -> None:
    done = hub.ok("models", "verify", "--remote")
    assert "smol: nothing is held of it; to bring it, run\n  nexusctl apply" in done.err
    hub.ok("apply")
    done = hub.ok("models", "verify", "--remote")
    assert done.out.splitlines()[0].split() == ["MODEL", "SUBJECT", "STATE", "HELD", "NOW"]
    assert done.out.splitlines()[1].split()[:3] == ["smol", "file", "ok"]
    hub.world.artifacts.fail_next.append(Retryable("no route to host"))
    done = hub("models", "verify", "--remote", "smol")
    assert (done.code, "no route to host" in done.out) == (1, True)
    assert "1 could not be asked; what is here is unchanged" in done.err
    here = hub.world.artifacts.delivered[SMOL.key]
    hub.world.artifacts.delivered[SMOL.key] = replace(here, identity="sha256:another")
    done = hub("models", "verify", "--remote", "-o", "json")
    assert (done.code, done.json()[0]["state"], done.json()[0]["held"]) == (1, "changed", "sha256:another")
    assert "nexusctl models lock --upgrade" in done.err


def test_diff_of_an_old_lock_with_the_present_one(hub: CommandLine) -> None:
    hub.ok("models", "lock")
    old = lock_file(hub).read_text()
    assert hub.ok("models", "diff", "nexus.lock").out == "The locks say the same.\n"
    other = old.replace(OLD_COMMIT, NEW_COMMIT).replace("size: 1000", "size: 2000")
    lock_file(hub).write_text(other)
    done = hub("models", "diff", "-", stdin=old)
    assert done.code == 1
    assert "~ Model/smol  1a2b3c4 -> 5d6e7f8" in done.out
    [row] = hub("models", "diff", "-", "nexus.lock", "-o", "json", stdin=old).json()
    assert row["files"][0]["after"]["sizeBytes"] == 2000
    assert hub("models", "diff", "nowhere.lock").code == 2


def test_a_disk_without_room_is_refused_before_anything_stops(nexusctl: CommandLine, write: Write) -> None:
    nexusctl.ok("apply")
    running = set(nexusctl.world.runtime.things)
    write(DEMO.replace("smol.gguf", "other.gguf").replace("2048", "4096"))
    nexusctl.world.artifacts.free_bytes = HEADROOM_BYTES + 999
    nexusctl.world.artifacts.reclaimable_bytes = 3 << 20
    done = nexusctl("apply", "--yes")
    assert done.code == 4
    assert "model/smol blocked (insufficient_disk: needs 1000 B; /cache has 256.0 MiB free" in done.out
    assert "nexusctl models gc would free 3.0 MiB" in done.out
    assert "deployment/chat blocked (dependency_blocked: Model/smol)" in done.out
    assert set(nexusctl.world.runtime.things) == running
    assert nexusctl.world.answers()
    nexusctl.world.artifacts.free_bytes += 1
    nexusctl.ok("apply", "--yes")


def test_a_file_that_two_models_ask_for_in_different_words_is_used_by_both(nexusctl: CommandLine) -> None:
    layout = Layout(nexusctl.folder / "cache")
    sha256 = "ab" * 32
    file = StoredFile("a.gguf", sha256, 5)
    layout.write_record(Record("k1", {}, "http://h/a.gguf", "etag:1", (file,), "2026-01-01T00:00:00+00:00", "1"))
    layout.write_pin(Pin("i1", "demo", "by-name", "k1", "{}"))
    layout.write_pin(Pin("i1", "demo", "by-digest", "k2", json.dumps({"sha256": sha256})))
    [row] = nexusctl.ok("models", "list", "-o", "json").json()
    assert row["usedBy"] == ["demo/by-digest", "demo/by-name"]

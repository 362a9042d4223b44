"""plan, apply, delete, prune, rollback as text and as exit codes, over a world of fakes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_ctl.clock import SystemClock
from nexus_ctl.resources.replica import Exit
from nexus_ctl.store.lock import StateLock
from tests.fakes.workspace import CommandLine
from tests.nexus_ctl.cli.conftest import DEMO

Write = Callable[..., Path]


def scrubbed(text: str) -> str:
    """Text without the hash of replica names and the number of writes so far."""
    text = re.sub(r"store revision \d+", "store revision N", text)
    return re.sub(r"(demo-\w+-\d)-[0-9a-f]{8}", r"\1-HASH", text)


def test_the_first_plan_as_text(nexusctl: CommandLine) -> None:
    assert (
        scrubbed(nexusctl.ok("plan").out)
        == """\
Set demo  instance 5f0c2b9ad1e3  runtime fake  store revision N

Actions:
  +   Gateway/demo     not_found
        listens on 127.0.0.1:8600
  +   Model/smol       not_found
        download 1000 B (0 B already here) from http://models.test/smol.gguf
        disk free 64.0 GiB -> 64.0 GiB
  +   Deployment/chat  not_found
  +   Preset/precise   not_found
  +   Route/chat       not_found

Plan: 5 to create; 0 restarts, 1000 B to download.
"""
    )


def test_apply_prints_one_line_per_object_and_the_talk_goes_to_stderr(nexusctl: CommandLine) -> None:
    done = nexusctl.ok("apply")
    assert (
        done.out
        == """\
gateway/demo created
model/smol created
deployment/chat created
preset/precise created
route/chat created
"""
    )
    assert "Plan: 5 to create" in done.err
    assert "model/smol: fetching the file\nmodel/smol: downloading 1000 B of 1000 B\n" in done.err
    assert nexusctl.world.answers()


def test_what_is_applied_plans_to_nothing(nexusctl: CommandLine) -> None:
    nexusctl.ok("apply")
    assert nexusctl.ok("plan").out.splitlines()[-1] == "Plan: 5 unchanged; 0 restarts."
    assert nexusctl("plan", "--detailed-exitcode").code == 0
    assert nexusctl.ok("apply", "-o", "name").out == ""


def test_a_live_change_and_a_replacement_as_text(nexusctl: CommandLine, write: Write) -> None:
    nexusctl.ok("apply")
    write(DEMO.replace("0.7", "0.2").replace("2048", "4096"))
    assert nexusctl("plan", "--detailed-exitcode").code == 2
    assert (
        scrubbed(nexusctl.ok("plan").out)
        == """\
Set demo  instance 5f0c2b9ad1e3  runtime fake  store revision N

Actions:
  +/- Deployment/chat  field_changed
        spec.engine.llamaCpp.contextSize: 2048 -> 4096  # forces replace
        strategy auto -> startFirst
        order: create new, start new, wait ready, route, drain old, stop old, remove old
        drains: the gateway's count and the engine's own (/slots), at most 30s
  ~   Preset/precise   field_changed
        spec.sampling.temperature: 0.7 -> 0.2  # live

Left alone:
  Gateway/demo  demo-gateway-0-HASH

Plan: 1 to update, 1 to replace (start-first), 3 unchanged; 1 restart.
"""
    )


def test_drift_stands_in_a_block_of_its_own(nexusctl: CommandLine) -> None:
    nexusctl.ok("apply")
    [name] = [one for one in nexusctl.world.runtime.things if "chat" in one]
    nexusctl.world.runtime.crash(name, Exit(137, 9))
    plan = scrubbed(nexusctl.ok("plan").out)
    assert "Changed outside nexusctl:\n  !   Deployment/chat  demo-chat-0-HASH" in plan
    assert "exited(137)" in plan


def test_the_plan_as_json_has_these_keys(nexusctl: CommandLine) -> None:
    plan = nexusctl.ok("plan", "-o", "json").json()
    assert list(plan) == [
        "formatVersion", "set", "environment", "instance", "runtime", "inputs", "storeRevision", "actions", "drift",
        "blocked", "devices", "orphans", "summary",
    ]  # fmt: skip
    assert plan["formatVersion"] == "1.0"
    assert [one["path"] for one in plan["inputs"]] == ["nexus.yaml"]
    by_ref = {one["ref"]: one for one in plan["actions"]}
    chat = by_ref["Deployment/chat"]
    assert chat["dependsOn"] == [by_ref["Model/smol"]["id"]]
    assert chat["reasons"] == [
        {"code": "not_found", "path": "", "before": None, "after": None, "onChange": "", "source": "config",
         "detail": ""}
    ]  # fmt: skip
    assert [step["action"] for step in chat["steps"]][:3] == ["CreateReplica", "StartReplica", "AwaitReady"]
    assert plan["summary"]["create"] == 5
    assert plan["summary"]["downloadBytes"] == 1000


def test_apply_as_json(nexusctl: CommandLine) -> None:
    done = nexusctl.ok("apply", "-o", "json").json()
    assert done["summary"] == {"created": 5}
    assert done["objects"][0] == {"ref": "Gateway/demo", "result": "created", "detail": "", "code": None}


def test_dry_run_changes_nothing(nexusctl: CommandLine) -> None:
    assert "Plan: 5 to create" in nexusctl.ok("apply", "--dry-run").out
    assert nexusctl.world.runtime.calls == []


def test_without_a_terminal_a_restart_needs_yes(nexusctl: CommandLine, write: Write) -> None:
    nexusctl.ok("apply")
    write(DEMO.replace("2048", "4096"))
    before = nexusctl.world.state()
    done = nexusctl("apply")
    assert done.code == 6
    assert done.err.endswith("""\
error[not-confirmed]: a confirmation is missing
  this plan restarts or removes something, and nobody is here to be asked
hint: run
  nexusctl apply --yes
""")
    assert nexusctl.world.state() == before
    assert nexusctl.ok("apply", "--yes").out.splitlines()[2] == "deployment/chat replaced"


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 6)])
def test_on_a_terminal_one_is_asked(nexusctl: CommandLine, answer: str, code: int) -> None:
    done = nexusctl("apply", answers=answer)
    assert done.code == code
    assert "Carry this out?" in done.err
    assert nexusctl.world.answers() == (code == 0)


def test_a_failed_object_exits_4_and_says_why(nexusctl: CommandLine) -> None:
    nexusctl.world.runtime.exits["chat"] = Exit(1)
    done = nexusctl("apply")
    assert done.code == 4
    assert re.search(r"^deployment/chat failed \(demo-chat-0-\w+ ended while starting: exited\(1\)\)$", done.out, re.M)
    assert "route/chat skipped (DependencyFailed: Deployment/chat)" in done.out
    assert "error[objects-failed]: some objects are not as declared" in done.err
    assert "nexusctl logs deployment/chat" in done.err


def test_a_source_that_is_not_there_blocks_and_exits_4(nexusctl: CommandLine) -> None:
    from nexus_ctl.errors import Terminal

    nexusctl.world.artifacts.fail_next = [Terminal("404 from models.test")]
    done = nexusctl("apply")
    assert done.code == 4
    assert "model/smol blocked" in done.out


def test_the_time_is_up_exits_5(nexusctl: CommandLine) -> None:
    nexusctl.world.runtime.ready_after = 500.0
    nexusctl.world.runtime.never_ready = {"chat"}
    done = nexusctl("apply", "--timeout", "30s")
    assert done.code == 5
    assert "error[deadline-exceeded]: the time is up\n  not done within 30 s\n" in done.err
    assert "deployment/chat skipped" in done.out


def test_a_held_lock_exits_7_and_names_the_holder(nexusctl: CommandLine, tmp_path: Path) -> None:
    with StateLock(tmp_path / "state", "nexusctl apply --prune", SystemClock()).acquire():
        done = nexusctl("apply")
    assert done.code == 7
    assert "error[lock-busy]" in done.err
    assert "nexusctl apply --prune" in done.err
    assert "--lock-timeout" in done.err


def test_an_unreachable_runtime_exits_8(nexusctl: CommandLine) -> None:
    nexusctl.world.runtime.reachable = False
    assert nexusctl("plan").code == 8
    assert nexusctl("plan", "--detailed-exitcode").code == 1
    assert nexusctl("diff").code == 8


# ── saved plans ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_saved_plan_is_carried_out_without_a_question(nexusctl: CommandLine, write: Write) -> None:
    nexusctl.ok("apply")
    write(DEMO.replace("2048", "4096"))
    nexusctl.ok("plan", "--out", "plan.json")
    assert "deployment/chat replaced" in nexusctl.ok("apply", "--plan", "plan.json").out


def test_a_plan_whose_input_moved_is_refused(nexusctl: CommandLine, write: Write) -> None:
    nexusctl.ok("plan", "--out", "plan.json")
    write(DEMO.replace("0.7", "0.3"))
    done = nexusctl("apply", "--plan", "plan.json")
    assert done.code == 3
    assert (
        done.err
        == """\
error[stale-plan]: the saved plan is stale
  since plan.json was written:
  input nexus.yaml: its content changed
  Preset/precise: planned create, now another create
hint: run
  nexusctl plan
"""
    )
    assert nexusctl.world.runtime.calls == []


def test_a_plan_whose_world_moved_is_refused(nexusctl: CommandLine, write: Write) -> None:
    nexusctl.ok("apply")
    write(DEMO.replace("0.7", "0.3"))
    nexusctl.ok("plan", "--out", "plan.json")
    [name] = [one for one in nexusctl.world.runtime.things if "chat" in one]
    nexusctl.world.runtime.crash(name)
    done = nexusctl("apply", "--plan", "plan.json")
    assert done.code == 3
    assert "Deployment/chat: planned no-op, now restart" in done.err


def test_free_memory_alone_makes_no_plan_stale(nexusctl: CommandLine, write: Write) -> None:
    nexusctl.ok("apply")
    write(DEMO.replace("2048", "4096"))
    nexusctl.ok("plan", "--out", "plan.json")
    nexusctl.world.free_bytes = 63 * 2**30
    nexusctl.ok("apply", "--plan", "plan.json")


def test_an_edited_file_or_none_is_no_plan(nexusctl: CommandLine, tmp_path: Path) -> None:
    nexusctl.ok("plan", "--out", "plan.json")
    value = json.loads((tmp_path / "plan.json").read_text())
    value["decisions"]["Route/chat"] = "0" * 16
    (tmp_path / "plan.json").write_text(json.dumps(value))
    for file in ("plan.json", "nexus.yaml", "nowhere.json"):
        assert nexusctl("apply", "--plan", file).code == 2


def test_a_saved_plan_takes_no_selection_and_stdin_cannot_be_saved(nexusctl: CommandLine) -> None:
    nexusctl.ok("plan", "--out", "plan.json")
    assert nexusctl("apply", "--plan", "plan.json", "--prune").code == 2
    assert nexusctl("plan", "-f", "-", "--out", "other.json", stdin=DEMO).code == 2
    assert "Plan: 5 to create" in nexusctl.ok("plan", "-f", "-", stdin=DEMO).out


# ── delete, prune, rollback ──────────────────────────────────────────────────────────────────────────────────────────


def test_delete_takes_everything_down_in_reverse_and_says_what_stays(nexusctl: CommandLine) -> None:
    nexusctl.ok("apply")
    assert nexusctl("delete", "-f", "nexus.yaml").code == 6
    done = nexusctl.ok("delete", "-f", "nexus.yaml", "--yes")
    assert set(done.out.splitlines()) == {
        "preset/precise deleted", "route/chat deleted", "deployment/chat deleted", "gateway/demo deleted",
        "model/smol deleted",
    }  # fmt: skip
    assert "keeps 1000 B on disk (deletionPolicy)" in done.err
    assert nexusctl.world.runtime.things == nexusctl.world.host.things == {}
    assert nexusctl.world.store.objects.all("demo") == ()


def test_delete_of_one_object_leaves_the_rest_and_warns_that_it_is_declared(nexusctl: CommandLine) -> None:
    nexusctl.ok("apply")
    done = nexusctl.ok("delete", "route/chat", "--yes")
    assert "route/chat deleted" in done.out
    assert "still declared, so the next apply makes it again: Route/chat" in done.err
    assert [one for one in nexusctl.world.runtime.things if "chat" in one]


def test_delete_of_what_is_in_use_or_protected_exits_6(nexusctl: CommandLine, write: Write) -> None:
    write(DEMO.replace("{name: precise}", "{name: precise, annotations: {nexusctl/protect: delete}}"))
    nexusctl.ok("apply")
    assert nexusctl("delete", "model/smol", "--yes").code == 6
    done = nexusctl("delete", "preset/precise", "--yes")
    assert done.code == 6
    assert "preset/precise blocked" in done.out


def test_delete_asks_what(nexusctl: CommandLine) -> None:
    assert nexusctl("delete").code == 2
    assert nexusctl("delete", "gateway").code == 2
    nexusctl.ok("apply")
    done = nexusctl("delete", "deployment/chta", "--yes")
    assert done.code == 2
    assert 'did you mean "deployment/chat"?' in done.err


def test_what_is_no_longer_declared_stays_until_pruned(nexusctl: CommandLine, write: Write) -> None:
    nexusctl.ok("apply")
    documents = DEMO.replace(", preset: precise", "").split("---\n")
    write("---\n".join(one for one in documents if "kind: Preset" not in one))
    assert "No longer declared, kept without --prune:\n  Preset/precise\n" in nexusctl.ok("apply").err
    assert nexusctl("prune").code == 6
    assert nexusctl.ok("prune", "--yes").out == "preset/precise pruned\n"
    assert nexusctl.ok("prune").out == ""


def test_the_cap_on_pruning_exits_6_and_gives_the_command(nexusctl: CommandLine, write: Write) -> None:
    nexusctl.ok("apply")
    write("---\n".join(DEMO.split("---\n")[:2]))
    done = nexusctl("apply", "--prune", "--max-prune", "0", "--yes")
    assert done.code == 6
    assert "--max-prune 3" in done.err


def test_rollback_goes_back_and_says_that_the_manifest_does_not(nexusctl: CommandLine, write: Write) -> None:
    nexusctl.ok("apply")
    write(DEMO.replace("0.7", "0.2"))
    nexusctl.ok("apply")
    assert "0.2 -> 0.7" in nexusctl.ok("rollback", "preset/precise", "--to-revision", "1", "--dry-run").out
    done = nexusctl.ok("rollback", "preset/precise")
    assert done.out == "preset/precise configured\n"
    assert "nexus.yaml still declares another spec" in done.err
    assert nexusctl.world.routing.table.presets["precise"].params == {"temperature": 0.7}
    assert nexusctl("rollback", "preset/precise", "--to-revision", "9").code == 2
    assert nexusctl("rollback", "model/smol").code == 2


def test_a_lost_database_restarts_nothing(nexusctl: CommandLine) -> None:
    nexusctl.ok("apply")
    before = nexusctl.world.state()
    nexusctl.world.lose_store()
    assert nexusctl.ok("apply").out.count("unchanged") == 5
    assert nexusctl.world.state() == before
    assert len(nexusctl.world.store.objects.all("demo")) == 4

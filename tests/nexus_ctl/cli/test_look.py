"""Commands that only look, in every output form, and those that need no world at all."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

import controllers
from nexus_ctl.artifacts.disk import TEMPORARY
from nexus_ctl.engines import table as engines
from nexus_ctl.resources.conditions import TYPES
from nexus_ctl.resources.device import Holding
from nexus_ctl.resources.image import LocalImage
from nexus_ctl.resources.launch import Mount
from nexus_ctl.resources.replica import Exit
from tests.builders import a_deployment
from tests.fakes.clock import FakeClock
from tests.fakes.workspace import CommandLine
from tests.fakes.world import FakeWorld
from tests.nexus_ctl.cli.conftest import DEMO

Write = Callable[..., Path]


@pytest.fixture
def applied(nexusctl: CommandLine) -> CommandLine:
    nexusctl.ok("apply")
    return nexusctl


# ── get ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_get_all(applied: CommandLine) -> None:
    applied.world.clock.advance(300)
    [digest] = [one.sha256[:12] for one in applied.world.artifacts.delivered.values()]
    assert (
        applied.ok("get", "all").out.replace(digest, "0123456789ab")
        == """\
NAME           READY   STATUS    ADDRESS                 AGE
gateway/demo   True    Current   http://127.0.0.1:8600   -

NAME         READY   STATUS    NAMES          ENDPOINTS   AGE
route/chat   True    Current   chat,default   1           5m

NAME             READY   STATUS    ROUTE   AGE
preset/precise   True    Current   chat    5m

NAME              READY   STATUS    REPLICAS   MODEL   GPU   ROUTE   AGE
deployment/chat   True    Current   1/1        smol    -     chat    5m

NAME         READY   STATUS    SIZE     DIGEST         AGE
model/smol   True    Current   1000 B   0123456789ab   5m
"""
    )


def test_get_forms(applied: CommandLine) -> None:
    assert applied.ok("get", "deploy", "-o", "name").out == "deployment/chat\n"
    one = applied.ok("get", "deployment/chat", "-o", "json").json()
    assert list(one) == ["apiVersion", "kind", "metadata", "spec", "status"]
    assert list(one["status"]) == [
        "summary", "lifecycle", "observedGeneration", "specHash", "suspended", "suspendedUntil", "columns",
        "conditions",
    ]  # fmt: skip
    assert one["metadata"]["labels"] == {"tier": "front"}
    many = yaml.safe_load(applied.ok("get", "routes", "presets", "-o", "yaml").out)
    assert many["kind"] == "List"
    assert [item["kind"] for item in many["items"]] == ["Route", "Preset"]
    wide = applied.ok("get", "deploy", "-o", "wide", "--show-labels").out.splitlines()
    assert wide[0].split()[-6:] == ["GENERATION", "OBSERVED", "SPEC-HASH", "LIFECYCLE", "REASON", "LABELS"]
    assert wide[1].endswith("READY       1 of 1   tier=front")
    assert len(applied.ok("get", "deploy", "--no-headers").out.splitlines()) == 1


@pytest.mark.parametrize(
    ("selector", "count"), [("tier=front", 1), ("tier!=front", 0), ("tier", 1), ("!tier", 0), ("tier=front,x", 0)]
)
def test_get_selects_by_label(applied: CommandLine, selector: str, count: int) -> None:
    assert len(applied.ok("get", "deploy", "-l", selector, "-o", "name").out.splitlines()) == count


def test_get_of_nothing_and_of_what_is_not_there(nexusctl: CommandLine) -> None:
    done = nexusctl.ok("get", "all")
    assert (done.out, "nothing of that in set demo" in done.err) == ("", True)
    nexusctl.ok("apply")
    assert nexusctl("get", "deployment/nope").code == 2
    assert nexusctl("get", "widgets").code == 2
    assert "hint: write deploy/chat\n" in nexusctl("get", "deploy", "chat").err
    assert nexusctl("get", "all", "-l", "a b").code == 2
    assert nexusctl("get", "all", "-w", "-o", "json").code == 2


def test_get_says_what_is_wrong(applied: CommandLine) -> None:
    [name] = [one for one in applied.world.runtime.things if "chat" in one]
    applied.world.runtime.crash(name, Exit(137, 9))
    row = applied.ok("get", "deploy", "--no-headers").out.split()
    assert row[1:4] == ["False", "InProgress(ReplicasMissing)", "0/1"]
    route = applied.ok("get", "routes", "--no-headers").out.split()
    assert route[1:5] == ["False", "InProgress(NoEndpoint)", "chat,default", "0"], "its row is there, nobody answers"


class Ending(FakeClock):
    """A clock on which an outsider acts at the first sleep, and the watcher presses Ctrl-C at the third."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self.sleeps = 0
        self.act = act

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.sleeps += 1
        if self.sleeps == 1:
            self.act()
        if self.sleeps == 3:
            raise KeyboardInterrupt


def watching(nexusctl: CommandLine, act: Callable[[], None]) -> None:
    nexusctl.world.clock = Ending(act)


def test_get_watch_adds_a_line_per_change_and_ends_with_130(applied: CommandLine) -> None:
    [name] = [one for one in applied.world.runtime.things if "chat" in one]
    watching(applied, lambda: applied.world.runtime.crash(name, Exit(1)))
    done = applied("get", "deploy", "-w")
    assert done.code == 130
    assert [line.split()[1] for line in done.out.splitlines()] == ["READY", "True", "False"]


# ── describe, status, events, history, logs, top, wait ───────────────────────────────────────────────────────────────


def test_describe(applied: CommandLine) -> None:
    text = applied.ok("describe", "deployment/chat").out
    for heading in ("Object:      deployment/chat", "Spec:", "Conditions:", "Replicas:", "Revisions:", "Events:"):
        assert heading in text
    assert "contextSize: 2048" in text
    assert applied("describe", "deployment/nope").code == 2


def test_what_an_engine_loaded_otherwise_is_shown(nexusctl: CommandLine) -> None:
    props = {"default_generation_settings": {"n_ctx": 1024}, "total_slots": 1}
    nexusctl.world.runtime.answers["chat"] = {"/props": props}
    nexusctl.ok("apply")
    words = "spec.engine.llamaCpp.contextSize: declared 2048, engine says 1024"
    [row] = [line for line in nexusctl.ok("describe", "deployment/chat").out.splitlines() if "Effective" in line]
    assert row.split()[:3] == ["Effective", "False", "LoadedOtherwise"]
    assert row.endswith(words)
    assert f"  deployment/chat  {words}\n" in nexusctl.ok("status").out


def test_status(applied: CommandLine, write: Write) -> None:
    assert applied.ok("status").out.endswith("All well.\n")
    write(DEMO.replace("{name: precise}", "{name: exact}").replace("preset: precise", "preset: exact"))
    [name] = [one for one in applied.world.runtime.things if "chat" in one]
    applied.world.runtime.crash(name, Exit(137, 9, out_of_memory=True))
    text = applied.ok("status").out
    assert "preset/exact  declared, not applied: nexusctl apply" in text
    assert "preset/precise  no longer declared: nexusctl prune" in text
    assert "deployment/chat  InProgress(ReplicasMissing): 0 of 1;" in text
    value = applied.ok("status", "-o", "json").json()
    assert list(value) == ["formatVersion", "set", "gateway", "objects", "replicas", "wrong", "missing", "undeclared",
                           "ahead"]  # fmt: skip
    assert value["missing"] == ["preset/exact"]


def test_status_of_an_image_that_was_here_already(nexusctl: CommandLine, tmp_path: Path) -> None:
    world = FakeWorld(containers=True)
    images, name = world.images, engines.launch(a_deployment().spec).image
    assert images is not None
    docker = CommandLine(world, tmp_path)
    images.registry[name] = images.here[name] = LocalImage("sha256:" + "a" * 64, 1000)
    docker.ok("apply")
    assert docker.ok("status").out.endswith("All well.\n")
    images.here.clear()
    assert f"image/{name}  declared, not applied" in docker.ok("status").out


def test_events(applied: CommandLine) -> None:
    lines = applied.ok("events", "preset/precise").out.splitlines()
    assert lines[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE"]
    assert lines[1].endswith("preset/precise   1       created by nexusctl apply")
    assert [one["reason"] for one in applied.ok("events", "-o", "json").json()] == ["Created"] * 5
    watching(applied, lambda: None)
    done = applied("events", "-w", "-o", "json")
    assert done.code == 130
    assert [json.loads(line)["reason"] for line in done.out.splitlines()] == ["Created"] * 5


def test_history(applied: CommandLine, write: Write) -> None:
    write(DEMO.replace("0.7", "0.2"))
    applied.ok("apply")
    rows = applied.ok("history", "preset/precise").out.splitlines()
    assert [row.split()[:2] for row in rows] == [["REVISION", "GENERATION"], ["1", "1"], ["2", "2"]]
    assert [one["spec"]["sampling"]["temperature"] for one in
            applied.ok("history", "preset/precise", "-o", "json").json()] == [0.7, 0.2]  # fmt: skip
    assert applied("history", "preset/nope").code == 2


def test_logs(applied: CommandLine, write: Write) -> None:
    [name] = [one for one in applied.world.runtime.things if "chat" in one]
    whole = applied.ok("logs", "deployment/chat").out.splitlines()
    assert whole == list(applied.world.runtime.logs(name))
    assert applied.ok("logs", "deployment/chat", "--tail", "1").out.splitlines() == whole[-1:]
    assert applied("logs", "model/smol").code == 2
    assert applied("logs", "deployment/nope").code == 2
    write(DEMO.replace("spec: {model", "spec: {replicas: 2, model"))
    applied.ok("apply")
    assert f"[{name}] {whole[0]}" in applied.ok("logs", "deployment/chat").out.splitlines()


def test_top(applied: CommandLine) -> None:
    lines = applied.ok("top").out.splitlines()
    assert lines[0].split() == ["REPLICA", "OBJECT", "PID", "CPU", "MEMORY", "IN-FLIGHT", "UP"]
    assert [line.split()[1] for line in lines[1:]] == ["deployment/chat", "gateway/demo"]
    [chat] = [one for one in applied.ok("top", "-o", "json").json() if one["object"] == "deployment/chat"]
    assert (chat["cpuCores"], chat["rssBytes"], chat["inFlight"]) == (0.25, 100 * 2**20, 0)


def test_top_names_gpu_memory_that_the_engine_forgot(applied: CommandLine) -> None:
    assert applied.ok("top").err == ""
    left = Holding(4711, "gpu0", 5 << 30, "", "ab" * 32, forgotten=True)
    known = Holding(4712, "gpu0", 1 << 30, "", "cd" * 32)
    applied.world.runtime.gpu_holders = (left, replace(left, device="gpu1", used_bytes=None), known)
    first, second = applied.ok("top").err.splitlines()
    assert first.startswith("note: process 4711 holds 5.0 GiB of gpu0 in container abababababab, which the engine does")
    assert first.endswith("if it is nobody's: sudo kill 4711")
    assert "4711 holds memory of gpu1" in second
    done = applied.ok("top", "-o", "json")
    assert done.err.splitlines() == [first, second]
    assert len(done.json()) == 2


def test_wait(applied: CommandLine) -> None:
    assert applied.ok("wait", "deployment/chat").out == "deployment/chat condition=Ready met\n"
    assert applied("wait", "deployment/nope").code == 2
    assert applied.ok("wait", "deployment/nope", "--for", "delete").out == "deployment/nope delete met\n"
    assert applied("wait", "deployment/chat", "--for", "sunshine").code == 2
    done = applied("wait", "deployment/chat", "--for", "condition=Redy")
    assert (done.code, 'did you mean "condition=Ready"?' in done.err) == (2, True), "not after a quarter of an hour"
    done = applied("wait", "deployment/chat", "--for", "condition=Ready=yes")
    assert (done.code, "one of: True, False, Unknown" in done.err) == (2, True)
    done = applied("wait", "deployment/chat", "--for", "condition=Ready=False", "--timeout", "3s")
    assert done.code == 5
    assert "condition=Ready=False not met within 3 s\n  Deployment/chat: Current" in done.err
    [name] = [one for one in applied.world.runtime.things if "chat" in one]
    applied.world.runtime.crash(name, Exit(1))
    failed = applied("wait", "deployment/chat")
    assert failed.code == 4
    assert "error[object-failed]" in failed.err


def test_suspend_holds_and_resume_lets_go(applied: CommandLine, write: Write) -> None:
    assert applied.ok("suspend", "deployment/chat", "--reason", "lunch", "--for", "1h").out == (
        "deployment/chat suspended\n"
    )
    assert "Suspended(lunch)" in applied.ok("get", "deploy").out
    write(DEMO.replace("2048", "4096"))
    assert "5 unchanged" in applied.ok("plan").out
    assert applied.ok("resume", "deployment/chat").out == "deployment/chat resumed\n"
    assert applied.ok("resume", "deployment/chat").out == "deployment/chat was not suspended\n"
    assert "1 to replace" in applied.ok("plan").out
    assert applied("suspend", "deployment/nope").code == 2
    assert applied("resume", "deployment/nope").code == 2


def test_what_is_told_speaks_of_what_was_applied(applied: CommandLine, write: Write) -> None:
    """An edited manifest is no outage; that it is ahead is told apart (gpustack#3011: saved, and nobody knows it)."""
    write(DEMO.replace("2048", "4096"))
    assert applied.ok("get", "deploy", "--no-headers").out.split()[1:4] == ["True", "Current", "1/1"]
    assert applied.ok("wait", "deployment/chat").out == "deployment/chat condition=Ready met\n"
    wrong = "Wrong:\n  deployment/chat  declared otherwise than applied: nexusctl plan\n"
    assert applied.ok("status").out.endswith(wrong)
    assert applied.ok("status", "-o", "json").json()["ahead"] == ["deployment/chat"]
    applied.ok("delete", "route/chat", "--yes")
    [stored] = [one for one in applied.world.store.objects.all("demo") if one.ref.kind == "Deployment"]
    assert [one.status for one in stored.conditions if one.type == "Ready"] == ["True"], "nor when others are changed"
    applied.ok("apply", "--yes")
    assert applied.ok("status").out.endswith("All well.\n")


def test_after_a_rollback_what_serves_is_told(applied: CommandLine, write: Write) -> None:
    write(DEMO.replace("2048", "4096"))
    applied.ok("apply", "--yes")
    applied.ok("rollback", "deployment/chat", "--to-revision", "1", "--yes")
    assert applied.ok("get", "deploy", "--no-headers").out.split()[1:4] == ["True", "Current", "1/1"]
    assert "deployment/chat  declared otherwise than applied: nexusctl plan\n" in applied.ok("status").out


def test_what_serves_as_declared_before_is_no_missing_replica(applied: CommandLine, write: Write) -> None:
    [name] = [one for one in applied.world.runtime.things if "chat" in one]
    applied.ok("suspend", "deployment/chat")
    write(DEMO.replace("2048", "4096"))
    applied.ok("apply")
    status = applied.ok("status").out
    assert f"deployment/chat  Suspended: 0 of 1; {name} serves as declared before\n" in status
    applied.ok("resume", "deployment/chat")
    assert applied.ok("get", "deploy", "--no-headers").out.split()[1:4] == ["False", "InProgress(OutOfDate)", "0/1"]


def test_a_suspended_object_is_told_as_it_is(applied: CommandLine, write: Write) -> None:
    applied.ok("suspend", "deployment/chat", "--reason", "lunch\nbreak", "--for", "1h")
    assert "Suspended(lunch break)" in applied.ok("get", "deploy").out, "one line"
    assert applied.ok("status").out.endswith("All well.\n")
    until = "until 2026-01-01T01:0"
    assert f"Suspended:   lunch break, {until}" in applied.ok("describe", "deployment/chat").out
    assert applied.ok("get", "deployment/chat", "-o", "json").json()["status"]["suspendedUntil"].startswith(until[6:])
    assert applied.ok("wait", "deployment/chat", "--for", "condition=Suspended").out.endswith("met\n")

    write(DEMO.replace("2048", "4096"))
    assert "Deployment/chat  suspended: lunch" in (plan := applied.ok("plan").out)
    assert "lunch break; field_changed waits\n" in plan
    applied.ok("apply")
    *_, newest = applied.ok("history", "deployment/chat", "-o", "json").json()
    assert (newest["generation"], newest["result"]) == (2, ""), "nobody has tried it"

    [name] = [one for one in applied.world.runtime.things if "chat" in one]
    applied.world.runtime.crash(name, Exit(1))
    assert f"{name}: running -> exited(1)" in applied.ok("plan").out, "it is observed all the same"
    assert "\n  deployment/chat  Suspended(lunch" in (status := applied.ok("status").out)
    assert f"0 of 1; {name} exited(1)" in status
    applied.ok("resume", "deployment/chat")
    applied.ok("apply", "--yes")
    *_, newest = applied.ok("history", "deployment/chat", "-o", "json").json()
    assert (newest["generation"], newest["result"]) == (2, "Succeeded")
    told = [one["reason"] for one in applied.ok("events", "deployment/chat", "-o", "json").json()]
    assert [one for one in told if one in ("Suspended", "Resumed")] == ["Suspended", "Resumed"]


def test_what_its_spec_suspends_is_not_pruned(applied: CommandLine, write: Write) -> None:
    write(DEMO.replace("{model: smol,", "{model: smol, suspend: true,"))
    applied.ok("apply")
    write("\n---\n".join(part for part in DEMO.split("---\n") if "Deployment" not in part and "Route" not in part))
    done = applied.ok("apply", "--prune", "--yes")
    assert (
        "deployment/chat blocked (suspended: spec.suspend is true; apply it without that, then remove it)" in done.out
    )
    assert [one for one in applied.world.runtime.things if "chat" in one]


def test_a_suspension_for_no_time_is_refused(applied: CommandLine) -> None:
    assert applied("suspend", "deployment/chat", "--for", "0s").code == 2
    assert applied.ok("resume", "deployment/chat").out == "deployment/chat was not suspended\n"


def test_what_is_only_declared_is_told_so(nexusctl: CommandLine) -> None:
    for words in (["describe"], ["wait"], ["suspend"], ["history"], ["get"]):
        done = nexusctl(*words, "deployment/chat")
        assert done.code == 2
        assert "Deployment/chat is declared, not applied\nhint: run\n  nexusctl plan\n" in done.err, words


def test_any_kind_may_be_suspended_and_the_plan_says_so(applied: CommandLine, write: Write) -> None:
    applied.ok("suspend", "preset/precise", "--reason", "experiment")
    write(DEMO.replace("0.7", "0.2"))
    plan = applied.ok("plan").out
    assert "Left alone:\n  Preset/precise  suspended: experiment; field_changed waits\n" in plan
    assert "5 unchanged" in plan
    applied.ok("apply")
    assert applied.world.routing.table.presets["precise"].params == {"temperature": 0.7}
    done = applied("delete", "preset/precise", "--yes")
    assert (done.code, "suspended: experiment; nexusctl resume preset/precise" in done.err) == (6, True)
    applied.ok("resume", "preset/precise")
    applied.ok("apply")
    assert applied.world.routing.table.presets["precise"].params == {"temperature": 0.2}


def test_diff(applied: CommandLine, write: Write) -> None:
    assert applied.ok("diff").out == ""
    assert applied.ok("diff", "-o", "json").json() == []
    write(DEMO.replace("0.7", "0.2"))
    done = applied("diff")
    assert done.code == 1
    assert (
        done.out
        == """\
--- applied/Preset/precise
+++ declared/Preset/precise
@@ -1,3 +1,3 @@
 spec:
   sampling:
-    temperature: 0.7
+    temperature: 0.2
"""
    )
    done = applied("diff", "-o", "json")
    (row,) = done.json()
    temperatures = [row[side]["sampling"]["temperature"] for side in ("applied", "declared")]
    assert (done.code, row["ref"], temperatures) == (1, "Preset/precise", [0.7, 0.2])
    write("nonsense: [")
    assert applied("diff").code == 2


def test_models(applied: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "cache" / "blobs").mkdir(parents=True)
    blob = tmp_path / "cache" / "blobs" / f"sha256-{'a' * 64}"
    blob.write_bytes(b"x" * 2048)
    assert applied.ok("models", "list").out == "DIGEST   SIZE   USED BY   RATING   NOTE   FETCHED   ORIGIN\n"
    assert applied.ok("models", "list", "-o", "json").json() == []
    assert "1 to remove, 2.0 KiB come free." in applied.ok("models", "gc", "--dry-run").out
    assert applied("models", "gc").code == 6
    assert applied("models", "gc", answers="n\n").code == 6
    assert blob.exists()
    row = {"kind": "artifact", "path": str(blob), "sizeBytes": 2048, "removed": False}
    listed = applied.ok("models", "gc", "--dry-run", "-o", "json").json()
    assert listed == {"items": [row], "freedBytes": 0}
    assert applied.ok("models", "gc", "--yes").out == "1 removed, 2.0 KiB free\n"
    assert not blob.exists()
    blob.write_bytes(b"x" * 2048)
    os.utime(blob, (0, 0))
    gone = applied.ok("models", "gc", "--yes", "-o", "json").json()
    assert (gone["items"][0]["removed"], gone["freedBytes"], blob.exists()) == (True, 2048, False)


def test_gc_says_what_stays_because_it_is_young(applied: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(exist_ok=True)
    left = tmp_path / "cache" / f"x{TEMPORARY}"
    left.write_bytes(b"x" * 2048)
    young = applied.world.clock.now().timestamp() - 60
    os.utime(left, (young, young))
    done = applied.ok("models", "gc", "--yes")
    assert "0 to remove" in done.err
    assert "note: 2.0 KiB that nothing uses came within the last hour and may go after it" in done.err
    os.utime(left, (young - 3600, young - 3600))
    done = applied.ok("models", "gc", "--yes")
    assert ("note:" in done.err, left.exists()) == (False, False)


def test_what_a_replica_was_given_is_no_garbage(applied: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "cache" / "blobs").mkdir(parents=True)
    blob = tmp_path / "cache" / "blobs" / f"sha256-{'a' * 64}"
    blob.write_bytes(b"x" * 2048)
    [thing] = [one for one in applied.world.runtime.things.values() if one.deployment == "chat"]
    assert thing.launch is not None
    before, thing.launch = thing.launch, replace(thing.launch, mounts=(Mount("/models/old.gguf", str(blob)),))
    assert applied.ok("models", "gc", "--dry-run").out.splitlines()[-1] == "0 to remove, 0 B come free."
    applied.ok("models", "gc", "--yes")
    assert blob.exists()
    thing.launch = before
    applied.ok("models", "gc", "--yes")
    assert not blob.exists()


# ── without a world ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_validate(nexusctl: CommandLine, write: Write) -> None:
    assert nexusctl.ok("validate").out == "ok: 4 resources in stack demo\n"
    write(DEMO.replace("model: smol,", "model: smoll,"))
    done = nexusctl("validate")
    assert done.code == 2
    assert (
        done.err
        == """\
error[unknown-ref]: a reference names something that is not declared
  --> nexus.yaml:13:15  spec.model
13 | spec: {model: smoll, engine: {llamaCpp: {contextSize: 2048}}}
   |               ^^^^^ no Model named "smoll" in this stack
hint: did you mean "smol"?
"""
    )
    report = nexusctl("validate", "-o", "json")
    assert report.code == 2
    assert [one["code"] for one in report.json()["diagnostics"]] == ["unknown-ref"]
    assert nexusctl("validate", "-f", "missing.yaml").code == 2


def test_validate_tells_what_the_engine_finds(nexusctl: CommandLine, write: Write) -> None:
    write(DEMO.replace("contextSize: 2048", "args: {ctx-sise: 1}"))
    done = nexusctl("plan")
    assert done.code == 2
    assert "error[unknown-flag]" in done.err
    assert "nexus.yaml:13:48" in done.err
    write(DEMO.replace("contextSize: 2048", "contextSize: 1000, parallel: 3"))
    assert "warning[uneven-slots]" in nexusctl.ok("validate").err
    assert [one["code"] for one in nexusctl.ok("validate", "-o", "json").json()["diagnostics"]] == ["uneven-slots"]


def test_build_prints_what_loads_again(nexusctl: CommandLine, tmp_path: Path) -> None:
    text = nexusctl.ok("build").out
    again = nexusctl.ok("build", "-f", "-", stdin=text).out
    assert again == text
    assert [one["kind"] for one in yaml.safe_load_all(text)] == ["Stack", "Deployment", "Model", "Preset", "Route"]


def test_init_writes_what_is_valid_and_never_overwrites(nexusctl: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "My Models"
    assert nexusctl.ok("init", str(folder)).out == f"{folder / 'nexus.yaml'}\n"
    text = (folder / "nexus.yaml").read_text()
    modeline = "# yaml-language-server: $schema=.nexus/schemas/nexus.json\n"
    assert text.startswith(modeline)
    assert text.count(modeline) == text.count("---\n") + 1, "editors want one for every document"
    assert (folder / ".nexus/schemas/nexus.json").exists()
    assert nexusctl.ok("validate", "-f", str(folder / "nexus.yaml")).out == "ok: 4 resources in stack my-models\n"
    assert nexusctl("init", str(folder)).code == 2
    assert (folder / "nexus.yaml").read_text() == text
    assert nexusctl("init", str(tmp_path / "x"), "--name", "No Name").code == 2


def test_explain(nexusctl: CommandLine) -> None:
    assert nexusctl.ok("explain").out.splitlines()[1].split()[:3] == ["Stack", "stacks", "stack"]
    assert nexusctl.ok("explain", "deployment.spec.replicas").out.startswith("Deployment.spec.replicas  integer\n")
    done = nexusctl("explain", "deployment.spec.replica")
    assert (done.code, "replicas" in done.err) == (2, True)


def test_schema(nexusctl: CommandLine, tmp_path: Path) -> None:
    assert json.loads(nexusctl.ok("schema", "route").out)["properties"]["kind"]["const"] == "Route"
    assert "allOf" in json.loads(nexusctl.ok("schema").out)
    written = nexusctl.ok("schema", "--out", str(tmp_path / "s")).out.splitlines()
    assert str(tmp_path / "s" / "nexus.json") in written
    assert nexusctl("schema", "route", "--out", "x").code == 2
    assert nexusctl("schema", "nope").code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(nexusctl: CommandLine, shell: str) -> None:
    script = nexusctl.ok("completion", shell).out
    assert f"_NEXUSCTL_COMPLETE={shell}_complete" in script
    assert nexusctl("completion", "tcsh").code == 2


def test_version(nexusctl: CommandLine) -> None:
    from nexus_ctl import __version__

    assert nexusctl.ok("version").out == nexusctl.ok("--version").out == f"nexusctl {__version__}\n"
    told = json.loads(nexusctl.ok("version", "-o", "json").out)
    assert (told["version"], set(told)) == (__version__, {"version", "python", "platform"})


# ── chat ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Gateway(BaseHTTPRequestHandler):
    """Answers with the model's name and the last question, in two pieces; refuses the model `chat:precise`."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        refused = asked["model"] == "chat:precise"
        self.send_response(404 if refused else 200)
        self.end_headers()
        if refused:
            self.wfile.write(b'{"error": {"message": "no such model"}}')
            return
        for piece in (asked["model"], ": ", asked["messages"][-1]["content"]):
            event = {"choices": [{"delta": {"content": piece}}]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def gateway(write: Write) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        listen = f"spec: {{gateway: {{listen: '127.0.0.1:{server.server_port}'}}}}"
        write(DEMO.replace("metadata: {name: demo}", f"metadata: {{name: demo}}\n{listen}"))
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("gateway")
def test_chat(nexusctl: CommandLine) -> None:
    assert nexusctl.ok("chat", "Hello", "--max-tokens", "5").out == "chat: Hello\n"
    assert nexusctl.ok("chat", "--route", "default", stdin="From a pipe").out == "default: From a pipe\n"
    assert nexusctl.ok("chat", answers="One\nTwo\n").out == "chat: One\nchat: Two\n"
    assert nexusctl("chat", stdin=" ").code == 2
    assert nexusctl("chat", "x", "--route", "nope").code == 2
    assert nexusctl("chat", "x", "--preset", "nope").code == 2
    refused = nexusctl("chat", "x", "--preset", "precise")
    assert refused.code == 4
    assert "404: no such model" in refused.err


def test_chat_without_a_gateway(nexusctl: CommandLine, write: Write) -> None:
    listen = "spec: {gateway: {listen: '127.0.0.1:1'}}"
    write(DEMO.replace("metadata: {name: demo}", f"metadata: {{name: demo}}\n{listen}"))
    done = nexusctl("chat", "Hello")
    assert done.code == 4
    assert "error[gateway-unreachable]: the gateway does not answer" in done.err


def test_one_may_wait_for_every_condition_that_is_ever_set() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(controllers.__file__).parent.rglob("*.py")]
    said = {word for text in sources for word in re.findall(r'(?:Condition|_counted)\(\s*"(\w+)"', text)}
    assert said >= {"Ready", "Downloaded", "Started"}, "the pattern finds them"
    assert said <= set(TYPES)

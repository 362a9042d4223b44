"""The plan as people and programs read it, against literals."""

from __future__ import annotations

from nexus_ctl.planning.action import DeletePreset, PutPreset, StartReplica
from nexus_ctl.planning.change import Change, Reason, Step, Verb
from nexus_ctl.planning.gap import Gap
from nexus_ctl.planning.plan import Node, Plan, blocked
from nexus_ctl.resources.declared import Input
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.routing import PresetEntry
from nexus_ctl.views.plan import summary, text, to_json, value

CHAT, OLD, LEGACY, FAST = (
    Ref("Deployment", "chat"), Ref("Deployment", "old"), Ref("Model", "legacy"), Ref("Preset", "fast"),
)  # fmt: skip


def a_plan(*changes: Change, **more: object) -> Plan:
    nodes = tuple(
        Node(number, change.ref, step.action, change.codes[0])
        for number, (change, step) in enumerate((c, s) for c in changes for s in c.steps)
    )
    return Plan("prod", "7f3a00112233", changes, nodes, **more)  # type: ignore[arg-type]


EVERYTHING = a_plan(
    Change(
        CHAT,
        Verb.REPLACE_STOP_FIRST,
        (
            Reason("field_changed", "spec.engine.args.max-model-len", "8192", "16384", "replace"),
            Reason("secret_changed", "spec.env", "*** (before)", "*** (after)", "replace"),
            Reason("insufficient_memory", detail="a second replica needs 21.0 GiB, 2.9 GiB are free"),
        ),
        (Step(StartReplica("prod-chat-0-abcdef01")),),
        notes=("strategy auto -> stopFirst",),
        drift=("prod-chat-0-9c1e77a2: running -> exited(137)",),
        restarts=1,
        gap=Gap(600.0, 2.25),
        untouched=("prod-chat-1-11111111",),
    ),
    Change(FAST, Verb.UPDATE, (Reason("field_changed", "spec.sampling.topK", None, 40, "live"),),
           (Step(PutPreset("fast", PresetEntry())),)),
    Change(OLD, Verb.PRUNE, (Reason("removed_from_set"),), (Step(DeletePreset("old")),), destroys_data=True),
    blocked(LEGACY, Reason("protected", source="request", detail="apply it with the annotation cleared")),
    Change(Ref("Route", "chat"), Verb.NO_OP),
    inputs=(Input("nexus.yaml", "ab" * 32),),
    environment="prod",
    orphans=(Ref("Preset", "stray"),),
    runtime="docker",
)  # fmt: skip


def test_everything_a_plan_can_say() -> None:
    assert (
        text(EVERYTHING, store_revision=418)
        == """\
Set prod  environment prod  instance 7f3a00112233  runtime docker  store revision 418

Changed outside nexusctl:
  !   Deployment/chat  prod-chat-0-9c1e77a2: running -> exited(137)

Actions:
  -/+ Deployment/chat  field_changed, secret_changed, insufficient_memory
        spec.engine.args.max-model-len: "8192" -> "16384"  # forces replace
        spec.env: "*** (before)" -> "*** (after)"  # forces replace, secret_changed
        a second replica needs 21.0 GiB, 2.9 GiB are free
        strategy auto -> stopFirst
        no service until the new replica is ready: about 2.2s as measured before, at most 10m
  ~   Preset/fast      field_changed
        spec.sampling.topK: unset -> 40  # live
  -   Deployment/old   removed_from_set  (prune)
        destroys data
  #   Model/legacy     protected
        apply it with the annotation cleared

Left alone:
  Deployment/chat  prod-chat-1-11111111

No longer declared, kept without --prune:
  Preset/stray

Plan: 1 to update, 1 to replace (stop-first), 1 to prune, 1 blocked, 1 unchanged; 1 restart.
"""
    )


def test_colour_is_put_around_and_changes_no_word() -> None:
    dressed = text(EVERYTHING, style=lambda role, words: f"<{role}>{words}</{role}>")
    assert "<replace>-/+</replace> Deployment/chat" in dressed
    assert "<blocked>#  </blocked> Model/legacy" in dressed
    import re

    assert re.sub(r"</?\w+>", "", dressed) == text(EVERYTHING)


def test_nothing_to_do_is_one_line() -> None:
    plan = a_plan(Change(CHAT, Verb.NO_OP, untouched=("prod-chat-0-1",)), runtime="process")
    assert text(plan) == "Set prod  instance 7f3a00112233  runtime process\n\nPlan: 1 unchanged; 0 restarts.\n"
    assert summary(a_plan()) == "Plan: nothing to do; 0 restarts."


def test_json_is_stable() -> None:
    found = to_json(EVERYTHING, store_revision=418)
    assert [one["action"] for one in found["actions"]] == ["replace-stop-first", "update", "prune"]
    assert found["actions"][0]["reasons"][0] == {
        "code": "field_changed", "path": "spec.engine.args.max-model-len", "before": "8192", "after": "16384",
        "onChange": "replace", "source": "config", "detail": "",
    }  # fmt: skip
    assert list(found["actions"][0]) == [
        "id", "ref", "action", "reasons", "dependsOn", "notes", "restarts", "downloadBytes", "diskBytes",
        "temporaryBytes", "builds", "gap", "gapSeconds", "memory", "placements", "destroysData", "untouched", "steps",
    ]  # fmt: skip
    assert found["actions"][0]["steps"] == [
        {"id": 0, "action": "StartReplica", "subject": "prod-chat-0-abcdef01", "needs": [], "rescues": None}
    ]
    assert found["blocked"][0]["ref"] == "Model/legacy"
    assert found["drift"] == [{"ref": "Deployment/chat", "detail": "prod-chat-0-9c1e77a2: running -> exited(137)"}]
    assert found["orphans"] == ["Preset/stray"]
    assert found["summary"]["restarts"] == 1
    assert found["summary"]["no-op"] == 1


def test_dependencies_are_between_actions() -> None:
    change = Change(FAST, Verb.CREATE, (Reason("not_found"),), (Step(PutPreset("fast", PresetEntry())),))
    first = Change(CHAT, Verb.CREATE, (Reason("not_found"),), (Step(StartReplica("x")),))
    nodes = (
        Node(0, CHAT, first.steps[0].action, "not_found"),
        Node(1, FAST, change.steps[0].action, "not_found", (0,)),
    )
    found = to_json(Plan("s", "i", (first, change), nodes))
    assert [(one["id"], one["dependsOn"]) for one in found["actions"]] == [(0, []), (1, [0])]


def test_values() -> None:
    assert [value(one) for one in (None, "a", 1, True, {"b": 1}, "é")] == [
        "unset",
        '"a"',
        "1",
        "true",
        '{"b": 1}',
        '"é"',
    ]

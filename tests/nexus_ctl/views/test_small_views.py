"""Tables, time spans, progress lines, endings and errors, against literals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nexus_ctl.errors import Blocked, UsageError
from nexus_ctl.planning import action
from nexus_ctl.resources.artifact import Progress
from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.views import applied, diff, progress, status, top
from nexus_ctl.views.failure import failure
from nexus_ctl.views.objects import ObjectView
from nexus_ctl.views.table import age, table

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_table_is_aligned_and_never_cut() -> None:
    assert table(("NAME", "WHY"), [("a", "x y"), ("longer-name", "")]) == (
        "NAME          WHY\na             x y\nlonger-name   -\n"
    )
    assert table(("NAME",), [], show_headers=False) == ""


@pytest.mark.parametrize(
    ("seconds", "word"),
    [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (7500, "2h5m"), (86400, "1d"),
     (86400 * 400, "400d")],
)  # fmt: skip
def test_age(seconds: int, word: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == word


def test_age_of_nothing() -> None:
    assert age(None, NOW) == "-"


def test_a_download_tells_bytes_rate_and_time_left() -> None:
    rate, mib = progress.Rate(), 2**20
    assert rate.line(Progress("download", 10 * mib, 100 * mib), 0.0) == "downloading 10.0 MiB of 100.0 MiB"
    assert rate.line(Progress("download", 20 * mib, 100 * mib), 1.0) == (
        "downloading 20.0 MiB of 100.0 MiB, 10.0 MiB/s, 8 s left"
    )
    assert rate.line(Progress("download", 30 * mib, 100 * mib), 3.5) == (
        "downloading 30.0 MiB of 100.0 MiB, 7.0 MiB/s, 10 s left"
    )
    assert rate.line(Progress("verify", mib, 100 * mib), 4.0) == "verifying 1.0 MiB of 100.0 MiB"
    assert progress.Rate().line(Progress("extract", 5, None), 0.0) == "extracting 5 B"


def test_long_waits_are_told_in_longer_units() -> None:
    rate = progress.Rate()
    rate.line(Progress("download", 0, 10**6), 0.0)
    assert rate.line(Progress("download", 1000, 10**6), 1.0).endswith("17 min left")
    slow = progress.Rate()
    slow.line(Progress("download", 0, 10**6), 0.0)
    assert slow.line(Progress("download", 100, 10**6), 1.0).endswith("2.8 h left")


def test_every_action_has_its_phrase() -> None:
    names = {one.__name__ for one in action.Action.__args__}
    assert names == progress.PHRASES.keys()
    assert progress.phrase(action.StartReplica("demo-chat-0")) == "starting demo-chat-0"


def test_endings() -> None:
    done = [
        applied.Applied(Ref("Model", "m"), "created"),
        applied.Applied(Ref("Deployment", "d"), "failed", "first\nsecond", "engine-exited"),
        applied.Applied(Ref("Route", "r"), "unchanged"),
    ]
    assert applied.lines(done) == "model/m created\ndeployment/d failed (first)\nroute/r unchanged\n"
    assert applied.names(done) == "model/m\ndeployment/d\n"
    assert applied.to_json("demo", done)["summary"] == {"created": 1, "failed": 1, "unchanged": 1}


def test_a_failure_has_code_summary_detail_and_hint() -> None:
    assert failure(UsageError("no such file", hint="name another")) == (
        "error[usage]: the command cannot be carried out as given\n  no such file\nhint: name another\n"
    )
    assert failure(Blocked("a\nb", hint="nexusctl apply --yes")) == (
        "error[blocked]: blocked by protection, policy or a missing confirmation\n  a\n  b\n"
        "hint: run\n  nexusctl apply --yes\n"
    )


def test_a_diff_of_what_is_new_and_what_goes() -> None:
    ref = Ref("Preset", "p")
    assert diff.text({}, {ref: {"locked": ["seed"]}}) == (
        "--- /dev/null\n+++ declared/Preset/p\n@@ -0,0 +1,3 @@\n+spec:\n+  locked:\n+  - seed\n"
    )
    assert diff.text({ref: {}}, {}) == "--- applied/Preset/p\n+++ /dev/null\n@@ -1 +0,0 @@\n-spec: {}\n"
    assert diff.text({ref: {"a": 1}}, {ref: {"a": 1}}) == ""


def test_top() -> None:
    rows = [top.Row("r-0", "deployment/d", 7, top.Usage(1.5, 3 * 2**30), 2, "5m"),
            top.Row("r-1", "deployment/d", None, None, None, "1s")]  # fmt: skip
    assert top.text(rows) == (
        "REPLICA   OBJECT         PID   CPU    MEMORY    IN-FLIGHT   UP\n"
        "r-0       deployment/d   7     150%   3.0 GiB   2           5m\n"
        "r-1       deployment/d   -     -      -         -           1s\n"
    )


def test_status_of_a_stack_that_is_not_there() -> None:
    found = status.Status("demo", "http://127.0.0.1:8600", (), (), missing=("route/chat",))
    assert status.text(found, NOW) == (
        "Set demo\nGateway http://127.0.0.1:8600/v1 does not answer\n\n"
        "Wrong:\n  route/chat  declared, not applied: nexusctl apply\n"
    )


def test_an_object_that_stalled_is_failed() -> None:
    stalled = ObjectView(Ref("Model", "m"), {}, (Condition("Stalled", "True", "NotFound", "", 1),), generation=1)
    assert str(stalled.status) == "Failed(NotFound)"
    assert str(ObjectView(Ref("Model", "m"), {}, suspended="lunch").status) == "Suspended(lunch)"

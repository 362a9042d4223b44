from __future__ import annotations

import pytest

from nexus_ctl.errors import UsageError
from nexus_ctl.resources.field import field_table
from nexus_ctl.resources.kinds import KINDS
from nexus_ctl.views.explain import explain


def test_a_field_tells_type_default_effect_and_what_is_below() -> None:
    assert explain("deployment.spec.rollout") == (
        "Deployment.spec.rollout  object\n"
        "  a change does nothing to what runs\n"
        "\n"
        "How a replica is exchanged for a new one.\n"
        "\n"
        "Fields:\n"
        "  strategy  one of: auto, startFirst, stopFirst\n"
        "      `startFirst` runs both for a moment and drops no request; `stopFirst` needs no spare memory\n"
        "      and leaves a gap; `auto` starts first when both are known to fit.\n"
        "  drainDeadline  duration\n"
        "      How long an old replica may finish its requests after it has left the routes.\n"
        "  stopDeadline  duration\n"
        "      Time from the polite signal to the kill.\n"
        "  minHealthy  duration\n"
        "      Ready for so long, a revision is stable: a failed roll-out goes back to it, and earlier\n"
        "      crashes are forgiven.\n"
    )


def test_a_leaf() -> None:
    assert explain("deploy.probe.healthyDeadline") == (
        "Deployment.spec.probe.healthyDeadline  duration\n"
        '  default: "10m"\n'
        "  a change does nothing to what runs\n"
        "\n"
        "A start fails after this long in any case.\n"
    )


def test_a_reference_says_what_it_names() -> None:
    assert "  required\n  a change takes effect without a restart\n  names a Deployment\n" in explain(
        "route.backends.deployment"
    )


def test_recursive_shows_the_whole_tree() -> None:
    text = explain("deployment.spec.engine", recursive=True)
    assert "  llamaCpp  object\n    file  string\n    contextSize  integer\n" in text
    assert "      batchSize  integer\n" in text


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_field_of_every_kind_can_be_explained(kind: str) -> None:
    for row in field_table(KINDS[kind].spec):
        path = row.path.replace("[]", "").replace("{}", "")
        assert row.type_name in explain(f"{kind}.{path}").split("\n")[0]
    assert KINDS[kind].doc in explain(kind)


def test_the_annotations_of_ours_are_explained() -> None:
    assert "nexusctl/protect: " in explain("model.metadata.annotations")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("deploymint", 'did you mean "deployment"?'),
        ("deployment.spec.engin", 'did you mean "spec.engine"?'),
        ("deployment.engine.llamaCpp.contextsize", 'did you mean "spec.engine.llamaCpp.contextSize"?'),
        ("deployment.spec.zzzzzzz", ""),
    ],
)
def test_what_is_not_there_is_refused_with_what_was_meant(path: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        explain(path)
    assert caught.value.hint == hint

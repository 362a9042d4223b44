"""Any other engine: placeholders, port and image, and what would not be filled in."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_ctl.engines import table
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import LaunchSpec, Mount


def a_spec(*command: str, **engine: Any) -> DeploymentSpec:
    return DeploymentSpec.model_validate({"model": "m", "engine": {"custom": {"command": command, **engine}}})


def test_launch() -> None:
    spec = a_spec("serve", "--at", "{host}:{port}", "--weights={model}", image="my/engine:1", port=9000)
    assert table.launch(spec) == LaunchSpec(
        argv=("serve", "--at", "{host}:{port}", "--weights=/models/m"),
        mounts=(Mount("/models/m", model="m"),),
        image="my/engine:1",
        port=9000,
    )
    assert table.check(spec) == ()


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        (("serve", "{host}", "{port}"), []),
        (("serve", "--port={port}"), ["placeholder-in-a-word"]),
        (("serve", "http://{host}", "{port}"), ["placeholder-in-a-word"]),
        (("serve",), ["port-not-used"]),
    ],
)
def test_faults(command: tuple[str, ...], codes: list[str]) -> None:
    assert [fault.code for fault in table.check(a_spec(*command))] == codes


def test_a_command_there_must_be() -> None:
    with pytest.raises(ValueError, match="command"):
        a_spec()

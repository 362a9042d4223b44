from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nexus_ctl.errors import ManifestError
from nexus_ctl.manifest.files import MAX_TEXT_BYTES
from nexus_ctl.manifest.stack import load
from nexus_ctl.resources.envelope import Ref

PRESET = """\
apiVersion: nexus/v1
kind: Preset
metadata:
  name: p
spec:
  systemPrompt: {prompt}
  sampling:
    seed: {seed}
"""
P = Ref("Preset", "p")


def spec(load_text: Any, prompt: str = "x", seed: str = "1", **environ: str) -> dict[str, Any]:
    resources = load_text(PRESET.format(prompt=prompt, seed=seed), environ).resources
    normalised: dict[str, Any] = resources[P].normalised
    return normalised


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${env.A}", "one"), ("a ${env.A} b ${env.B}", "a one b two"), ("${env.C:-three}", "three"),
        ("${env.EMPTY:-filled}", "filled"), ("${env.A:-unused}", "one"), ("$${env.A}", "${env.A}"),
        ("$$${env.A}", "$${env.A}"), ("$ {env.A} $x $", "$ {env.A} $x $"), ("'${env.N}'", "7"),
        ("${env.LOOP}", "${env.A}"),
        ("${env.N}0", "70"), ("${env.C:-a:b - c}", "a:b - c"),
    ],
)  # fmt: skip
def test_what_is_put_in(load_text: Any, written: str, meant: str) -> None:
    environ = {"A": "one", "B": "two", "EMPTY": "", "N": "7", "LOOP": "${env.A}"}
    assert spec(load_text, written, **environ)["systemPrompt"] == meant


def test_a_whole_plain_value_is_read_anew_and_text_cannot_become_structure(load_text: Any) -> None:
    assert spec(load_text, seed="${env.N}", N="7")["sampling"]["seed"] == 7
    assert spec(load_text, seed="${env.M:-8}")["sampling"]["seed"] == 8
    assert spec(load_text, prompt="${env.X}", X="{a: [1]}\nb: 2")["systemPrompt"] == "{a: [1]}\nb: 2"


def test_keys_are_left_alone(load_text: Any) -> None:
    text = PRESET.format(prompt="x", seed="1") + "  responseFormat:\n    ${env.A}: 1\n"
    assert load_text(text, {"A": "no"}).resources[P].spec.response_format == {"${env.A}": 1}


def test_a_file_is_read_beside_its_manifest_and_is_an_input(write: Any, workspace: Path) -> None:
    write("prompts/system.txt", "Be brief.\nBe kind.\n\n")
    write("sub/p.yaml", PRESET.format(prompt="${file:../prompts/system.txt}", seed="1"))
    stack = load(["sub/p.yaml"], environ={})
    assert stack.resources[P].spec.system_prompt == "Be brief.\nBe kind.\n"
    assert [one.path for one in stack.inputs] == ["prompts/system.txt", "sub/p.yaml"]


@pytest.mark.parametrize(("content", "code"), [(b"x" * (MAX_TEXT_BYTES + 1), "file-too-large"), (b"\xff", "not-utf8")])
def test_a_file_that_is_no_modest_text_is_refused(write: Any, workspace: Path, content: bytes, code: str) -> None:
    (workspace / "t").write_bytes(content)
    write("p.yaml", PRESET.format(prompt="${file:t}", seed="1"))
    with pytest.raises(ManifestError) as caught:
        load(["p.yaml"], environ={})
    assert [one.code for one in caught.value.diagnostics] == [code]

"""From the hub's safetensors to an answer: converted, quantized and served by apply; and as the original answers."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Workspace
from tests.e2e.test_companions import SMOLLM2
from tests.fakes.checkpoints import CHECKPOINTS
from tests.fakes.gguf_models import varied_adapter
from tests.fakes.hub import FakeHub
from tests.fakes.hub_model import adapter_files_of, files_of
from tests.fakes.sentencepiece_model import trained

pytestmark = pytest.mark.e2e


def test_safetensors_are_converted_quantized_and_answer_as_the_original(
    workspace: Workspace, smollm2: Path, tmp_path: Path
) -> None:
    original = _as_f16(smollm2, tmp_path / "original.gguf")
    model = workspace.documents["Model/smol"]
    model["source"] = {"path": str(original)}
    workspace.write()
    workspace.ok("apply", "--yes")
    answer = _greedy(workspace)
    with FakeHub() as hub:
        hub.commit("acme/smol", files_of(original))
        workspace.environ |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
        model["source"] = {"huggingFace": {"repo": "acme/smol"}}
        model["convert"] = {"type": "f16"}
        workspace.write()
        plan = workspace.ok("plan").out
        assert "download" in plan
        assert "convert to GGUF, f16: " in plan
        workspace.ok("apply", "--yes")
        made = _records(workspace)["convert to GGUF, f16"]
        assert f"convert to GGUF, f16: {made['files'][0]['size_bytes'] / 2**20:.1f} MiB, 16." in plan
        assert _greedy(workspace) == answer
        workspace.ok("models", "lock")
        assert _locked(workspace)[0]["digest"] == f"sha256:{made['files'][0]['sha256']}"
        model["quantize"] = {"type": "Q8_0"}
        workspace.write()
        assert "lock-contradicted" in workspace.run("plan").err
        before = _locked(workspace)
        workspace.ok("models", "lock", "smol")
        ahead = _locked(workspace)
        assert (ahead[:1], ahead[1]["quantize"], "digest" in ahead[1]) == (before, "Q8_0", False)
        plan = workspace.ok("plan").out
        assert ("download" in plan, "quantize Q8_0: 138.1 MiB, 8.5" in plan) == (False, True)
        assert "nexus.lock: added smol" in workspace.ok("apply", "--yes").err
    after, record = _locked(workspace), _records(workspace)["quantize Q8_0"]
    assert after == [ahead[0], ahead[1] | {"digest": f"sha256:{record['files'][0]['sha256']}"}]
    workspace.ok("apply", "--locked")
    workspace.ok("models", "verify")
    assert "unknown" in workspace.run("models", "verify", "--remote").out, "the hub is gone"
    assert round(_records(workspace)["quantize Q8_0"]["files"][0]["size_bytes"] / 2**20, 1) == 138.1
    assert _greedy(workspace)
    assert workspace.run("plan", "--detailed-exitcode").code == 0
    workspace.ok("delete", "-f", "nexus.yaml", "--yes")


def _locked(workspace: Workspace) -> list[dict[str, Any]]:
    """What nexus.lock says of the model's builds."""
    found: list[dict[str, Any]] = yaml.safe_load((workspace.folder / "nexus.lock").read_text())["models"]["smol"][
        "builds"
    ]
    return found


def test_a_repository_with_a_sentencepiece_tokenizer_is_served(workspace: Workspace) -> None:
    tiny = CHECKPOINTS["mixtral"]
    tiny = replace(tiny, config={**tiny.config, "vocab_size": 424, "max_position_embeddings": 512})
    files = {name: content for name, content in tiny.files().items() if name != "tokenizer.json"}
    with FakeHub() as hub:
        hub.commit("acme/tiny", {**files, "tokenizer.model": trained()})
        workspace.environ |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
        workspace.documents["Model/smol"] = {
            "source": {"huggingFace": {"repo": "acme/tiny"}},
            "convert": {"type": "f16"},
        }
        workspace.write()
        assert "convert to GGUF, f16: " in workspace.ok("plan").out
        workspace.ok("apply", "--yes")
        assert _greedy(workspace)
        workspace.documents["Model/smol"]["quantize"] = {"type": "Q8_0"}
        workspace.write()
        workspace.ok("apply", "--yes")
    assert _greedy(workspace)
    assert workspace.run("plan", "--detailed-exitcode").code == 0
    workspace.ok("delete", "-f", "nexus.yaml", "--yes")


def _records(workspace: Workspace) -> dict[str, Any]:
    """What was built, by the first words of its origin."""
    found = [json.loads(path.read_text()) for path in (workspace.folder / "cache" / "records").glob("*.json")]
    return {record["origin"].partition(" of ")[0]: record for record in found if record["built"]}


def _greedy(workspace: Workspace) -> str:
    question = {
        "model": "chat",
        "messages": [{"role": "user", "content": "Name three colours."}],
        "temperature": 0,
        "max_tokens": 12,
    }
    content = {"Content-Type": "application/json"}
    ask = urllib.request.Request(f"{workspace.url}/chat/completions", json.dumps(question).encode(), content)
    with urllib.request.urlopen(ask, timeout=120) as reply:
        said: str = json.load(reply)["choices"][0]["message"]["content"]
    return said


def _as_f16(source: Path, target: Path) -> Path:
    spec = find_spec("xllamacpp")
    assert spec is not None
    assert spec.origin is not None
    library = next(Path(spec.origin).parent.glob("xllamacpp*.so"))
    program = [sys.executable, "-m", "nexus_ctl.artifacts.quantize.quantizer", str(library), "F16", str(target), "1"]
    subprocess.run([*program, str(source)], check=True, timeout=280)
    return target


def test_an_adapter_of_peft_answers_as_the_one_made_by_hand(workspace: Workspace, smollm2: Path) -> None:
    by_hand = varied_adapter(SMOLLM2, workspace.folder / "by-hand.gguf", size=0.03)
    plain = _answer_with(workspace, None)
    wanted = _answer_with(workspace, {"source": {"path": str(by_hand)}})
    assert wanted != plain, "the adapter changes what is said"
    with FakeHub() as hub:
        hub.commit("acme/tone", adapter_files_of(by_hand, SMOLLM2.heads, SMOLLM2.kv(0)))
        workspace.environ |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
        tone = {"source": {"huggingFace": {"repo": "acme/tone"}}, "convert": {"type": "f32", "base": "smol"}}
        assert _answer_with(workspace, tone) == wanted
    [made] = _records(workspace).values()
    assert made["origin"].startswith("convert the adapter to GGUF, f32")
    assert workspace.run("plan", "--detailed-exitcode").code == 0
    workspace.ok("delete", "-f", "nexus.yaml", "--yes")


def _answer_with(workspace: Workspace, tone: dict[str, Any] | None) -> str:
    if tone is not None:
        workspace.documents["Model/tone"] = tone
        workspace.llama["adapters"] = [{"model": "tone"}]
    workspace.write()
    workspace.ok("apply", "--yes")
    return _greedy(workspace)

"""More than one model in a deployment, on the real llama.cpp: draft, adapters, vectors and scores, told and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.e2e.conftest import Workspace
from tests.fakes.gguf_models import TINY, Shape, adapter, projector, write

pytestmark = pytest.mark.e2e

SMOLLM2 = Shape("llama", 30, 576, 9, 3, 1536, 49_152)
"""What an adapter must know of SmolLM2-135M."""


def ask(workspace: Workspace, path: str, **body: Any) -> Any:
    """The gateway's answer to a request."""
    request = Request(
        f"{workspace.url}/{path}", json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)


def condition(workspace: Workspace, name: str, deployment: str = "chat") -> Any:
    told = workspace.ok("get", f"deployment/{deployment}", "-o", "json").json()
    return next(one for one in told["status"]["conditions"] if one["type"] == name)


def declare(workspace: Workspace, **models: Path) -> None:
    for name, path in models.items():
        workspace.documents[f"Model/{name}"] = {"source": {"path": str(path)}}


def test_what_comes_along_is_loaded_told_and_learned(workspace: Workspace, smollm2: Path) -> None:
    folder = workspace.folder
    declare(
        workspace,
        eyes=projector(SMOLLM2.embedding, folder / "eyes.gguf"),
        small=smollm2,
        loud=adapter(SMOLLM2, folder / "loud.gguf", value=0.05),
        late=adapter(SMOLLM2, folder / "late.gguf", value=0.05),
    )
    workspace.llama.update(
        draft={"model": "small", "nMax": 4, "pMin": 0.1, "threads": 1},
        adapters=[{"model": "loud"}, {"model": "late", "scale": 0}],
        projector={"model": "eyes"},
        sampling={"temperature": 0, "topK": 20, "seed": 7, "maxTokens": 8},
        server={"chatTemplate": "${file:chat.jinja}"},
    )
    (folder / "chat.jinja").write_text("{% for message in messages %}{{ message.content }}\n{% endfor %}")
    workspace.write()
    plan = workspace.ok("plan").out
    assert "draft model" in plan
    assert "adapters" in plan
    workspace.apply()
    effective = condition(workspace, "Effective")
    assert (effective["status"], effective["reason"]) == ("True", "LoadedAsDeclared"), effective
    words: dict[str, Any] = {"model": "chat", "prompt": "The capital of France is"}
    answer = ask(workspace, "completions", **words, cache_prompt=False)
    assert answer["usage"]["completion_tokens"] == 8, "the declared limit holds where a request says nothing"
    with_it = answer["choices"][0]["text"]
    off = [{"id": 0, "scale": 0}, {"id": 1, "scale": 0}]
    without = ask(workspace, "completions", **words, cache_prompt=False, lora=off)["choices"][0]["text"]
    late = [{"id": 0, "scale": 0}, {"id": 1, "scale": 1}]
    other = ask(workspace, "completions", **words, cache_prompt=False, lora=late)["choices"][0]["text"]
    assert with_it != without, "the adapter changes what is said"
    assert other == with_it, "the one that waits does so too when it is asked for"
    assert workspace.run("plan", "--detailed-exitcode").code == 0
    (told,) = [one for one in workspace.ok("events", "-o", "json").json() if one["reason"] == "MemoryReported"]
    assert abs(float(told["message"].rpartition("(")[2].rstrip("%)"))) < 1, told["message"]
    (folder / "chat.jinja").write_text("{% for message in messages %}{{ message.content }}{% endfor %}")
    planned = workspace.ok("plan", "-o", "json").json()
    chat = next(one for one in planned["actions"] if one["ref"] == "Deployment/chat")
    assert "spec.engine.llamaCpp.server.chatTemplate" in str(chat), "the template's content counts"
    [host] = chat["memory"]["devices"]
    assert {host["basis"][part] for part in ("weights", "compute", "draft", "adapters", "projector")} == {"learned"}


def test_files_that_do_not_go_together_are_named_before_anything_starts(workspace: Workspace) -> None:
    folder = workspace.folder
    declare(
        workspace,
        stranger=write(TINY["llama-gqa"], folder / "stranger.gguf"),
        tone=adapter(TINY["qwen3"], folder / "tone.gguf"),
    )
    workspace.llama.update(draft={"model": "stranger"}, adapters=[{"model": "tone"}], contextSize=1 << 20)
    workspace.write()
    plan = workspace.run("plan").out
    assert "file_says_otherwise" in plan
    assert "its vocabulary is not the target's" in plan
    assert "it was made for qwen3, and the model is llama" in plan
    assert workspace.ours() == []


def test_vectors_and_scores_go_through_the_gateway(workspace: Workspace) -> None:
    declare(workspace, encoder=write(TINY["bert"], workspace.folder / "encoder.gguf"))
    small = {"threads": {"generation": 1}, "contextSize": 512}
    for name, mode in (("vectors", "embeddings"), ("scores", "reranking")):
        workspace.documents[f"Deployment/{name}"] = {
            "model": "encoder",
            "engine": {"llamaCpp": {**small, mode: {"enabled": True}}},
        }
        workspace.documents[f"Route/{name}"] = {"backends": [{"deployment": name}]}
    del workspace.documents["Deployment/chat"], workspace.documents["Route/chat"]
    workspace.write()
    workspace.apply()
    [vector] = ask(workspace, "embeddings", model="vectors", input="t1 t2")["data"]
    assert len(vector["embedding"]) == TINY["bert"].embedding
    scores = ask(workspace, "rerank", model="scores", query="t1", documents=["t1", "t2 t3"])["results"]
    assert {one["index"] for one in scores} == {0, 1}
    assert condition(workspace, "Effective", "scores")["status"] == "True"

"""The main job, as a user does it: a real engine, a real model, a real gateway, the command line."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path

import openai
import pytest

from tests.e2e.conftest import Workspace, eventually

pytestmark = pytest.mark.e2e


def client(workspace: Workspace) -> openai.OpenAI:
    return openai.OpenAI(base_url=workspace.url, api_key="none", max_retries=0, timeout=60)


def test_from_a_manifest_to_an_answer_and_back_to_nothing(workspace: Workspace) -> None:
    plan = workspace.ok("plan")
    assert "5 to create" in plan.out
    assert workspace.replicas() == {}, "plan makes nothing"

    done = workspace.apply()
    assert "deployment/chat created" in done.out.splitlines()
    assert workspace.run("plan", "--detailed-exitcode").code == 0

    answer = client(workspace).chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "Name three colours."}], max_tokens=8
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 8
    assert answer.choices[0].message.content

    [row] = workspace.ok("get", "deployments", "-o", "json").json()["items"]
    assert [c["status"] for c in row["status"]["conditions"] if c["type"] == "Ready"] == ["True"]
    assert "All well." in workspace.ok("status").out
    assert "model loaded" in workspace.ok("logs", "deployment/chat").out

    gone = workspace.ok("delete", "-f", "nexus.yaml", "--yes")
    assert "keeps" in gone.err + gone.out
    assert workspace.replicas() == {}
    assert workspace.ours() == [], "no process of ours is left"


def test_a_preset_change_keeps_the_engine_and_a_context_change_never_drops_a_request(workspace: Workspace) -> None:
    workspace.apply()
    before = workspace.replicas()

    workspace.documents["Preset/precise"]["sampling"]["temperature"] = 0.2
    workspace.write()
    plan = workspace.ok("plan").out
    assert "spec.sampling.temperature: 0.7 -> 0.2  # live" in plan
    assert "0 restarts" in plan
    workspace.apply()
    assert workspace.replicas() == before

    failures: list[Exception] = []
    answered = [0]
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                client(workspace).completions.create(model="chat", prompt="one two", max_tokens=2)
                answered[0] += 1
            except openai.OpenAIError as error:
                failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        workspace.llama["contextSize"] = 1024
        workspace.write()
        done = workspace.apply()
    finally:
        stop.set()
        asking.join()
    assert "deployment/chat replaced" in done.out.splitlines()
    assert failures == []
    assert answered[0] > 0
    after = workspace.replicas()
    assert set(after) != set(before)
    assert len(after) == 2


def test_a_stream_across_a_preset_change_and_a_gateway_reload_finishes_whole(workspace: Workspace) -> None:
    workspace.apply()
    stream = client(workspace).chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": "Tell me a long story about a fox."}],
        max_tokens=120,
        seed=7,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [next(stream) for _ in range(3)]
    workspace.documents["Preset/precise"]["sampling"]["temperature"] = 0.1
    workspace.documents["Route/chat"]["aliases"] = ["tales"]
    workspace.write()
    workspace.apply()
    assert "tales" in {model.id for model in client(workspace).models.list()}
    chunks += list(stream)
    assert chunks[-1].usage is not None
    texts = sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks)
    assert chunks[-1].usage.completion_tokens >= texts > 3
    finished = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    assert len(finished) == 1


def test_errors_come_in_openai_form_and_say_whose_they_are(workspace: Workspace) -> None:
    workspace.apply()
    with pytest.raises(openai.NotFoundError) as missing:
        client(workspace).chat.completions.create(model="nobody", messages=[{"role": "user", "content": "hi"}])
    assert missing.value.response.headers["x-nexus-error-source"] == "gateway"
    assert "chat" in str(missing.value), "it names the models there are"
    with pytest.raises(openai.BadRequestError) as too_long:
        client(workspace).completions.create(model="chat", prompt="word " * 2000, max_tokens=1)
    assert too_long.value.response.headers["x-nexus-error-source"] == "engine"


def test_embeddings_where_the_deployment_serves_them(workspace: Workspace) -> None:
    workspace.llama["embeddings"] = {"enabled": True, "pooling": "mean"}
    workspace.write()
    workspace.apply()
    found = client(workspace).embeddings.create(model="chat", input="a red fox")
    assert len(found.data[0].embedding) == 576


def test_a_model_has_a_page_with_its_real_use_and_what_fits(workspace: Workspace) -> None:
    workspace.apply()
    with client(workspace) as asking:
        said = asking.completions.create(model="chat", prompt="one two", max_tokens=2)
    assert said.usage is not None
    workspace.ok("models", "rate", "smol", "4", "--note", "small and quick")
    page = workspace.ok("models", "show", "smol", "-o", "json").json()
    assert (page["card"]["architecture"], page["fits"]["for"].partition(";")[0]) == (
        "llama",
        "the settings of Deployment/chat",
    )
    assert page["usage"]["requests"] == 1
    assert page["usage"]["promptTokens"] == said.usage.prompt_tokens
    assert page["usage"]["since"] <= page["usage"]["lastUsed"]
    assert page["ratings"][0]["note"] == "small and quick"
    assert page["read"] == {"requests": 0, "headerBytes": 0}


def test_what_the_engine_really_loaded_is_told(workspace: Workspace) -> None:
    def effective() -> dict[str, str]:
        conditions = workspace.ok("get", "deployment/chat", "-o", "json").json()["status"]["conditions"]
        return next(one for one in conditions if one["type"] == "Effective")

    workspace.apply()
    assert effective()["status"] == "True"
    workspace.llama.update({"contextSize": 10000, "server": {"slots": False}})
    workspace.write()
    assert "deployment/chat replaced" in workspace.apply().out
    found = effective()
    assert (found["status"], found["reason"]) == ("False", "LoadedOtherwise")
    assert found["message"] == (
        "spec.engine.llamaCpp.contextSize: declared 10000, engine says 8192, the model's training length"
    )
    assert found["message"] in workspace.ok("describe", "deployment/chat").out
    assert workspace.run("plan", "--detailed-exitcode").code == 0


def test_logs_follow_the_replica_that_takes_over(workspace: Workspace) -> None:
    workspace.apply()
    [old] = [name for name in workspace.replicas() if "chat" in name]
    following = workspace.popen("logs", "deployment/chat", "-f", "--tail", "1")
    assert following.stdout is not None
    assert following.stdout.readline(), "it follows"
    workspace.llama["contextSize"] = 1024
    workspace.write()
    workspace.apply()
    [new] = [name for name in workspace.replicas() if "chat" in name]
    workspace.ok("delete", "-f", "nexus.yaml", "--yes")
    out, err = following.communicate(timeout=60)
    assert (following.returncode, err) == (0, "")
    assert any(line.startswith(f"[{old}] ") for line in out.splitlines()), "to its end"
    assert sum("model loaded, listening" in line for line in out.splitlines() if line.startswith(f"[{new}] ")) == 1
    workspace.write()
    workspace.apply()
    short = workspace.popen("logs", "deployment/chat", "-f")
    assert short.stdout is not None
    assert short.stdout.readline()
    short.send_signal(signal.SIGINT)
    assert short.communicate(timeout=60)[1].strip() == "interrupted"
    assert short.returncode == 130


def test_a_lost_state_restarts_nothing(workspace: Workspace) -> None:
    workspace.apply()
    before = workspace.replicas()
    for file in (workspace.folder / ".nexus").glob("state.db*"):
        file.unlink()
    assert "5 unchanged; 0 restarts" in workspace.apply().err
    assert workspace.replicas() == before
    shutil.rmtree(workspace.folder / ".nexus" / "gateway")
    workspace.apply()
    answer = client(workspace).completions.create(model="chat", prompt="one", max_tokens=1)
    assert answer.usage is not None
    assert workspace.replicas() == before


def test_a_killed_engine_is_named_and_healed(workspace: Workspace) -> None:
    workspace.apply()
    [(name, pid)] = [(n, p) for n, p in workspace.replicas().items() if "chat" in n]
    os.kill(pid, 9)
    eventually(lambda: name not in workspace.replicas(), "the engine is gone")
    plan = eventually(lambda: (p := workspace.run("plan").out) and "exited(137)" in p and p, "the plan sees it")
    assert f"{name}: running -> exited(137)" in plan
    assert "deployment/chat restarted" in workspace.apply().out.splitlines()
    assert client(workspace).completions.create(model="chat", prompt="one", max_tokens=1).usage is not None


def test_a_broken_engine_is_said_with_its_own_last_words_and_the_old_one_stays(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.apply()
    before = workspace.replicas()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 4096)
    workspace.documents["Model/smol"]["source"]["path"] = str(broken)
    workspace.write()
    done = workspace.run("apply", "--yes")
    assert done.code == 4
    assert "deployment/chat failed" in done.out
    assert "exited" in done.out + done.err
    assert workspace.replicas() == before
    assert client(workspace).completions.create(model="chat", prompt="one", max_tokens=1).usage is not None


def test_rollback_goes_to_the_revision_asked_for(workspace: Workspace) -> None:
    workspace.apply()
    workspace.llama["contextSize"] = 1024
    workspace.write()
    workspace.apply()
    history = workspace.ok("history", "deployment/chat", "-o", "json").json()
    assert [item["revision"] for item in history] == [1, 2]
    assert "deployment/chat replaced" in workspace.ok("rollback", "deployment/chat", "--to-revision", "1", "--yes").out
    described = workspace.ok("describe", "deployment/chat").out
    assert "contextSize: 512" in described


def test_a_saved_plan_is_refused_once_something_moved(workspace: Workspace) -> None:
    workspace.ok("plan", "--out", "saved.plan")
    workspace.documents["Preset/precise"]["sampling"]["temperature"] = 0.4
    workspace.write()
    refused = workspace.run("apply", "--plan", "saved.plan")
    assert refused.code == 3
    assert "nexus.yaml" in refused.err
    workspace.ok("plan", "--out", "fresh.plan")
    workspace.ok("apply", "--plan", "fresh.plan")
    assert workspace.run("plan", "--detailed-exitcode").code == 0

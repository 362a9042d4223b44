from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from nexus_ctl.errors import Location, ManifestError, UsageError
from nexus_ctl.manifest.build import to_yaml
from nexus_ctl.manifest.stack import load
from nexus_ctl.resources.declared import edges
from nexus_ctl.resources.envelope import Ref

MODEL = "apiVersion: nexus/v1\nkind: Model\nmetadata:\n  name: m\nspec:\n  source:\n    path: weights/m.gguf\n"
STACK = "apiVersion: nexus/v1\nkind: Stack\nmetadata:\n  name: shop\n"


def preset(name: str) -> str:
    return f"apiVersion: nexus/v1\nkind: Preset\nmetadata:\n  name: {name}\n"


def names(stack: Any) -> list[str]:
    return [ref.name for ref in stack.resources]


# paths


def test_without_a_path_the_nearest_workspace_upward_is_loaded(
    write: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("nexus.yaml", STACK + "---\n" + preset("p"))
    write("a/b/other.yaml", preset("q"))
    monkeypatch.chdir(workspace / "a" / "b")
    stack = load()
    assert (stack.name, names(stack), stack.base_dir) == ("shop", ["p"], str(workspace))
    assert stack.locations[Ref("Preset", "p")] == Location("../../nexus.yaml", 9, 9)


def test_without_any_workspace_the_way_out_is_named() -> None:
    with pytest.raises(UsageError, match=r"no nexus\.yaml") as caught:
        load()
    assert "nexusctl init" in caught.value.hint


def test_settings_come_from_above_when_the_paths_hold_no_stack(write: Any, workspace: Path) -> None:
    write("nexus.yaml", STACK + "---\n" + preset("p"))
    stack = load([str(write("x/q.yaml", preset("q")))])
    assert (stack.name, names(stack), stack.base_dir) == ("shop", ["q"], str(workspace))


def test_without_a_stack_anywhere_the_name_is_default(write: Any, workspace: Path) -> None:
    stack = load([str(write("q.yaml", preset("q")))])
    assert (stack.name, stack.base_dir, stack.settings.gateway.listen) == ("default", str(workspace), "127.0.0.1:8600")


def test_folders_globs_files_and_stdin_are_one_input(write: Any) -> None:
    for path in ("d/b.yaml", "d/a.yml", "d/sub/c.yaml", "g1.yaml", "g2.yaml", "f.yaml"):
        write(path, preset(Path(path).stem))
    write("d/.hidden.yaml", "nonsense: [")
    write("d/.git/x.yaml", "nonsense: [")
    write("d/readme.md", "# no manifest")
    stack = load(["d", "g*.yaml", "f.yaml", "-"], stdin=io.StringIO(preset("s")))
    assert names(stack) == ["a", "b", "c", "f", "g1", "g2", "s"]
    assert stack.locations[Ref("Preset", "s")] == Location("<stdin>", 4, 9)


def test_a_file_reached_twice_is_read_once(write: Any, workspace: Path) -> None:
    write("d/a.yaml", preset("a"))
    (workspace / "link.yaml").symlink_to("d/a.yaml")
    assert names(load(["d", "d/a.yaml", "link.yaml", "./d/../d"])) == ["a"]


def test_a_pipe_is_a_file(workspace: Path) -> None:
    pipe = workspace / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(preset("p"),))
    writer.start()
    assert names(load([str(pipe)])) == ["p"]
    writer.join()


def test_a_loop_of_links_ends(write: Any, workspace: Path) -> None:
    write("d/a.yaml", preset("a"))
    (workspace / "d" / "loop").symlink_to("..")
    assert names(load(["d"])) == ["a"]


@pytest.mark.parametrize("path", ["none.yaml", "none/", "*.nothing"])
def test_a_path_that_is_not_there_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load([path])


def test_an_empty_folder_is_empty_input(workspace: Path) -> None:
    (workspace / "d").mkdir()
    with pytest.raises(ManifestError) as caught:
        load(["d"])
    assert [one.code for one in caught.value.diagnostics] == ["empty-input"]


def test_inputs_are_digests_of_what_was_read(write: Any) -> None:
    path = write("nexus.yaml", STACK)
    assert [(one.path, one.sha256) for one in load().inputs] == [
        ("nexus.yaml", hashlib.sha256(path.read_bytes()).hexdigest())
    ]


def test_a_lone_stack_is_a_stack_without_resources(write: Any) -> None:
    write("nexus.yaml", STACK)
    assert load().resources == {}


# include


def test_includes_are_relative_to_the_stack_and_used_up(write: Any, workspace: Path, monkeypatch: Any) -> None:
    write("w/nexus.yaml", STACK + "spec:\n  include: [models, 'p*.yaml', nexus.yaml]\n")
    write("w/models/deep/m.yaml", MODEL)
    write("w/p1.yaml", preset("p1"))
    (workspace / "w" / "x").mkdir()
    monkeypatch.chdir(workspace / "w" / "x")
    stack = load()
    assert names(stack) == ["m", "p1"]
    assert stack.settings.include == []


def test_a_stack_in_an_included_file_is_a_second_one(write: Any) -> None:
    write("nexus.yaml", STACK + "spec:\n  include: [other.yaml]\n")
    write("other.yaml", STACK)
    with pytest.raises(ManifestError) as caught:
        load()
    (fault,) = caught.value.diagnostics
    assert (fault.code, str(fault.location)) == ("duplicate-stack", "other.yaml:4:9")


# faults across files


def test_a_resource_declared_in_two_files_names_both_places(write: Any) -> None:
    write("d/a.yaml", preset("p"))
    write("d/b.yaml", preset("p"))
    with pytest.raises(ManifestError) as caught:
        load(["d"])
    (fault,) = caught.value.diagnostics
    assert (str(fault.location), "d/a.yaml:4:9" in fault.detail) == ("d/b.yaml:4:9", True)


def test_an_unreadable_file_hides_no_references_of_others(write: Any) -> None:
    write("d/a.yaml", MODEL + "  x: [\n")
    write("d/b.yaml", preset("p").replace("name: p", "name: p\n  annotations: {nexusctl/depends-on: Model/m}"))
    with pytest.raises(ManifestError) as caught:
        load(["d"])
    assert [one.code for one in caught.value.diagnostics] == ["yaml-syntax"]


def test_status_is_ignored_with_a_warning(load_text: Any) -> None:
    stack = load_text(preset("p") + "status:\n  ready: true\n")
    assert [(one.code, one.severity, one.location.line) for one in stack.warnings] == [("ignored-status", "warning", 5)]


def test_all_faults_of_all_files_come_at_once_sorted_by_place(write: Any) -> None:
    write("d/b.yaml", preset("B"))
    write("d/a.yaml", preset("A") + "---\n" + preset("p") + "spec: {smpling: {}}\n")
    with pytest.raises(ManifestError) as caught:
        load(["d"])
    assert [(str(one.location), one.code) for one in caught.value.diagnostics] == [
        ("d/a.yaml:4:9", "invalid-name"),
        ("d/a.yaml:10:8", "unknown-field"),
        ("d/b.yaml:4:9", "invalid-name"),
    ]


def test_a_stack_without_a_good_name_and_a_repeated_resource_tell_their_other_faults_too(load_text: Any) -> None:
    with pytest.raises(ManifestError) as caught:
        load_text(
            STACK.replace("name: ", "name: Not_") + "spec: {runtime: {driver: dokcer}}\n---\n"
            + preset("p") + "---\n" + preset("p") + "spec: {smpling: {}}\n"
        )  # fmt: skip
    assert [one.code for one in caught.value.diagnostics] == [
        "invalid-name", "invalid-choice", "duplicate-resource", "unknown-field",
    ]  # fmt: skip


# values


def test_relative_paths_are_made_absolute_against_the_file_they_stand_in(
    write: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    settings = "spec:\n  modelCache: {path: ../cache}\n  runtime: {llamaServer: bin/llama-server}\n"
    write("w/nexus.yaml", STACK + settings + "---\n" + MODEL)
    write(
        "w/more/n.yaml",
        MODEL.replace("name: m", "name: n").replace("path: weights/m.gguf", "path: ~/n.gguf")
        + "---\n" + MODEL.replace("name: m", "name: u").replace(
            "path: weights/m.gguf", "url: https://example.org/u\n    token:\n      valueFrom:\n        file: key"
        ),
    )  # fmt: skip
    stack = load(["w"])
    folder = str(workspace / "w")
    assert stack.settings.model_cache.path == str(workspace / "cache")
    assert stack.settings.runtime.llama_server == f"{folder}/bin/llama-server"
    assert stack.resources[Ref("Model", "m")].spec.source.path == f"{folder}/weights/m.gguf"
    assert stack.resources[Ref("Model", "n")].spec.source.path == "/home/someone/n.gguf"
    assert stack.resources[Ref("Model", "u")].spec.source.token.value_from.file == f"{folder}/more/key"


def test_edges_follow_references_and_annotations(write: Any) -> None:
    root = Path(__file__).parents[3]
    graph = edges(load([str(root / "nexus.yaml")]))
    assert {str(ref): sorted(map(str, needed)) for ref, needed in graph.items()} == {
        "Deployment/chat": ["Model/smollm2"],
        "Model/smollm2": [],
        "Preset/precise": [],
        "Route/chat": ["Deployment/chat"],
    }


def test_build_writes_one_file_that_loads_anywhere(write: Any, workspace: Path, monkeypatch: Any) -> None:
    write("w/nexus.yaml", STACK + "spec:\n  include: [m.yaml]\n  parallelism: {downloads: 9}\n")
    write("w/m.yaml", MODEL)
    stack = load(["w/nexus.yaml"])
    text = to_yaml(stack)
    monkeypatch.chdir("/")
    assert load(["-"], stdin=io.StringIO(text)) == stack


def test_loading_imports_nothing_heavy() -> None:
    code = "import sys, json, nexus_ctl.manifest.stack; print(json.dumps(sorted(sys.modules)))"
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root, timeout=60
    )
    heavy = {"docker", "requests", "sqlalchemy", "fastapi", "jsonschema", "httpx", "huggingface_hub", "asyncio", "rich"}
    assert heavy.isdisjoint(json.loads(done.stdout))

"""The stand-in's flags: what llama-server takes, what each row really sets in xllamacpp, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from nexus_ctl.engines.flags import declarable
from nexus_ctl.engines.llama_server.arguments import Argument, Kind, arguments, by_spelling
from nexus_ctl.engines.llama_server.command_line import WrongWord, read
from nexus_ctl.engines.llama_server.flags import SETTINGS, unsupported_flags
from nexus_ctl.resources.llama_cpp import LlamaCpp

SAMPLES = {
    "--alias": "one,two",
    "--tags": "one,two",
    "--host": "127.0.0.2",
    "--gpu-layers": "7",
    "--spec-draft-ngl": "all",
    "--tensor-split": "3,1.5",
    "--fit-target": "512",
    "--lora": "/a.gguf,/b.gguf",
    "--lora-scaled": "/a.gguf:0.5",
    "--chat-template-kwargs": '{"depth": 3}',
    "--reasoning-effort": "high",
    "--spec-type": "ngram-simple,draft-simple",
    "--spec-synth-rates": "0.5,0.25",
    "--override-tensor": "exps=CPU",
    "--spec-draft-override-tensor": "exps=CPU",
    "--samplers": "top_k;temperature",
    "--dry-penalty-last-n": "7",
    "--flash-attn": "on",
    "--rope-scale": "4",
    "--spec-draft-sampling": "probabilistic",
    "--cpu-strict": "1",
    "--cpu-strict-batch": "1",
    "--spec-draft-cpu-strict": "1",
    "--spec-draft-cpu-strict-batch": "1",
    "--prio": "2",
    "--prio-batch": "2",
    "--spec-draft-prio": "2",
    "--spec-draft-prio-batch": "2",
    "--fit": "off",
    "--video-ffmpeg-dir": "/usr/bin",
    "--reasoning": "on",
    "--reasoning-format": "none",
}
"""Words where the argument's type alone does not say one that differs from the default."""

READ_BACK = """
import json, sys, xllamacpp
from nexus_ctl.engines.llama_server.command_line import _owner, fill, read
def plain(value):
    if isinstance(value, (set, frozenset)): return sorted(value)
    if isinstance(value, float): return round(value, 4)
    if isinstance(value, (bool, str, type(None))) or type(value) is int: return value
    if isinstance(value, dict): return value
    if isinstance(value, list): return [plain(item) for item in value]
    return getattr(value, "name", None) or repr(value)
def look(params, paths):
    return [plain(getattr(*_owner(params, path))) for path in paths]
for line in json.load(sys.stdin):
    given = read(line["words"])
    params = xllamacpp.CommonParams()
    before = look(params, line["paths"])
    fill(params, given, xllamacpp)
    print(json.dumps([before, look(params, line["paths"]), params.sampling.user_sampling_config]), flush=True)
"""


def sample(argument: Argument, folder: Path) -> list[str]:
    """The flag with a word that differs from the default."""
    if argument.kind is Kind.FLAG:
        return [argument.name]
    if argument.kind is Kind.SWITCH:
        on_by_default = argument.default.startswith(("enabled", "true", "prefill")) or argument.name == "--perf"
        on = argument.name == "--kv-unified" or not on_by_default
        return [argument.name if on else argument.off_name]
    if argument.name in SAMPLES:
        return [argument.name, SAMPLES[argument.name]]
    if argument.name in ("--slot-save-path", "--media-path"):
        return [argument.name, str(folder)]
    if argument.kind is Kind.PATH and argument.name.endswith("-file"):
        (folder / "text").write_text("some text\n")
        return [argument.name, str(folder / "text")]
    words = {Kind.INTEGER: "7", Kind.NUMBER: "0.25", Kind.TEXT: "word", Kind.PATH: "/some/path", Kind.JSON: "{}"}
    if argument.kind is Kind.CHOICE:
        return [argument.name, next(value for value in reversed(argument.allowed) if value != argument.default)]
    return [argument.name, words[argument.kind]]


@cache
def read_back(folder: Path) -> dict[str, tuple[list[Any], list[Any], int]]:
    """Per flag: its attributes before and after, and the user's sampling marks. One process of its own for all."""
    rows = [argument for argument in arguments() if argument.name in SETTINGS]
    lines = [{"words": sample(row, folder), "paths": SETTINGS[row.name].attributes} for row in rows]
    done = subprocess.run(
        [sys.executable, "-c", READ_BACK], input=json.dumps(lines), capture_output=True, text=True, check=False
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(rows), (rows[len(answers)].name, done.stderr)
    return {row.name: tuple(answer) for row, answer in zip(rows, answers, strict=True)}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[Any], list[Any], int]]:
    return read_back(tmp_path_factory.mktemp("words"))


def test_every_row_changes_its_attribute(filled: dict[str, tuple[list[Any], list[Any], int]]) -> None:
    unchanged = {name: before for name, (before, after, _) in filled.items() if before == after}
    assert unchanged == {}
    assert set(filled) == set(SETTINGS)


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("--model", ["/some/path"]),
        ("--alias", [["one", "two"]]),
        ("--host", [["127.0.0.2"]]),
        ("--port", [7]),
        ("--ctx-size", [7]),
        ("--parallel", [7]),
        ("--batch-size", [7]),
        ("--ubatch-size", [7]),
        ("--cont-batching", [False]),
        ("--cache-type-k", ["GGML_TYPE_Q5_1"]),
        ("--cache-type-v", ["GGML_TYPE_Q5_1"]),
        ("--flash-attn", ["LLAMA_FLASH_ATTN_TYPE_ENABLED"]),
        ("--kv-unified", [True]),
        ("--load-mode", ["LLAMA_LOAD_MODE_DIRECT_IO"]),
        ("--gpu-layers", [7]),
        ("--split-mode", ["LLAMA_SPLIT_MODE_TENSOR"]),
        ("--tensor-split", [[3.0, 1.5, *[0.0] * 126]]),
        ("--main-gpu", [7]),
        ("--threads", [7]),
        ("--threads-batch", [7]),
        ("--threads-http", [7]),
        ("--metrics", [True]),
        ("--slots", [False]),
        ("--timeout", [7, 7]),
        ("--chat-template", ["word"]),
        ("--jinja", [False]),
        ("--embedding", [True]),
        ("--pooling", ["LLAMA_POOLING_TYPE_RANK"]),
        ("--warmup", [False]),
        ("--verbosity", [7]),
        ("--reasoning", [1, {"enable_thinking": "true"}]),
        ("--rerank", [True, "LLAMA_POOLING_TYPE_RANK"]),
        ("--rope-scale", [0.25]),
        ("--lora-scaled", [["CommonAdapterLoraInfo(path='/a.gguf', scale=0.5)"]]),
        ("--chat-template-kwargs", [{"depth": "3"}]),
        ("--moe-cache-mib", [7 * 1024 * 1024]),
        ("--spec-type", [["COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE", "COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE"]]),
    ],
)
def test_rows_set_the_right_value(
    filled: dict[str, tuple[list[Any], list[Any], int]], flag: str, values: list[Any]
) -> None:
    assert filled[flag][1] == values


def test_every_flag_that_we_render_is_honoured() -> None:
    rendered = {*declarable(LlamaCpp, ""), "--model", "--alias", "--host", "--port", "--lora-scaled", "--mmproj"}
    rendered |= {"--spec-draft-model", "--spec-type"}
    devices = {"--device", "--spec-draft-device"}
    assert rendered - (set(by_spelling()) - unsupported_flags()) == devices, "a build for the CPU alone"


def test_user_sampling_is_marked_as_the_user_s(filled: dict[str, tuple[list[Any], list[Any], int]]) -> None:
    assert filled["--temp"][2] == 64
    assert filled["--top-k"][2] == 2
    assert filled["--ctx-size"][2] == 0


def test_the_table_speaks_of_real_arguments() -> None:
    assert [name for name in SETTINGS if name not in {argument.name for argument in arguments()}] == []
    assert unsupported_flags() >= {"--ssl-cert-file", "--models-dir", "-hf", "--hf-repo", "--rpc", "--no-log-prefix"}
    assert not unsupported_flags() & {"--ctx-size", "-c", "--no-slots"}


def test_arguments_are_read_whole() -> None:
    threads = by_spelling()["-t"]
    assert (threads.name, threads.kind, threads.env, threads.words) == (
        "--threads",
        Kind.INTEGER,
        "LLAMA_ARG_THREADS",
        1,
    )
    offload = by_spelling()["-nkvo"]
    assert (offload.names, offload.off_names) == (("-kvo", "--kv-offload"), ("-nkvo", "--no-kv-offload"))
    assert by_spelling()["--control-vector-layer-range"].words == 2
    assert (by_spelling()["--poll"].at_least, by_spelling()["--poll"].at_most) == (0, 100)
    assert by_spelling()["--draft"].gone == "use --spec-draft-n-max"
    assert len(by_spelling()) == sum(len(a.names) + len(a.off_names) for a in arguments())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--nonsense"], "invalid argument: --nonsense"),
        (["--ctx-size"], "expected value for argument --ctx-size"),
        (["--split-mode", "sideways"], "--split-mode: 'sideways' is none of none, layer, row, tensor"),
        (["--draft", "4"], "--draft was removed: use --spec-draft-n-max"),
        (["--ssl-cert-file", "x"], "--ssl-cert-file: this build of llama.cpp (xllamacpp) cannot honour it"),
    ],
)
def test_a_wrong_command_line_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(WrongWord) as caught:
        read(words)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--nonsense"], "invalid argument: --nonsense"),
        (["--ctx-size", "many", "--model", "/x"], "--ctx-size many"),
        (["--media-path", "/no/such/folder", "--model", "/x"], "not a directory: /no/such/folder"),
        (["--ctx-size", "512"], "no model given"),
        (["--model", "/no/such/model.gguf", "--host", "127.0.0.1", "--port", "0"], "failed to load model"),
    ],
)
def test_the_stand_in_says_why_it_cannot_serve(words: list[str], says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nexus_ctl.engines.llama_server", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stdout == ""

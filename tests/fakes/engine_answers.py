"""The real llama.cpp server, asked what it computes: tokens of texts, and the distribution of the next token.

Run as a program it is the helper of `forked_engine`.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.forked_engine import answers_of, serve_lines


@dataclass(frozen=True)
class Question:
    """What is asked of a model. `prompts` are lists of tokens; `texts` are tokenized, `marked` with special tokens."""

    path: Path
    prompts: Sequence[Sequence[int]] = ()
    texts: Sequence[str] = ()
    marked: Sequence[str] = ()
    adapter: Path | None = None
    context: int = 256
    count: int = 6


@dataclass(frozen=True)
class Answers:
    """`logprobs` of the next token after each prompt, by number; `greedy`: the tokens that follow; `log`: all said."""

    logprobs: list[list[float]] = field(default_factory=list)
    greedy: list[list[int]] = field(default_factory=list)
    texts: list[list[int]] = field(default_factory=list)
    marked: list[list[int]] = field(default_factory=list)
    log: str = ""


def ask(questions: Iterable[Question]) -> list[Answers]:
    """Ask each, one after the other. Raises AssertionError with the engine's log where it fails."""
    lines = [json.dumps(asdict(one), default=str) for one in questions]
    found = answers_of("tests.fakes.engine_answers", lines, seconds_each=10)
    assert all("error" not in one for one in found), found
    return [Answers(**one) for one in found]


def _serve(asked: dict[str, Any], log: str) -> None:
    """In the forked child: load, ask, write the answers."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = asked["path"], asked["context"], 1
    params.cache_type_k = params.cache_type_v = type(params.cache_type_k)(0)
    params.flash_attn_type = type(params.flash_attn_type)(0)
    params.verbosity, params.warmup, params.fit_params, params.port = 4, False, False, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    if asked["adapter"]:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(asked["adapter"], 1.0)]
    server = xllamacpp.Server(params)

    def post(where: str, **body: Any) -> Any:
        content = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{server.listening_address}{where}", json.dumps(body).encode(), content)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    found = Answers()
    for prompt in asked["prompts"]:
        wide = {"n_probs": 1 << 16, "temperature": -1, "cache_prompt": False, "return_tokens": True, "ignore_eos": True}
        said = post("/completion", prompt=prompt, n_predict=asked["count"], **wide)
        first = {one["id"]: one["logprob"] for one in said["completion_probabilities"][0]["top_logprobs"]}
        found.logprobs.append([first[number] for number in sorted(first)])
        found.greedy.append(said["tokens"])
    for texts, special, into in ((asked["texts"], False, found.texts), (asked["marked"], True, found.marked)):
        into += [
            post("/tokenize", content=text, add_special=special, parse_special=special)["tokens"] for text in texts
        ]
    Path(f"{log}.found").write_text(json.dumps(asdict(found)))
    os._exit(0)


def _answer(log: Path, ok: bool) -> dict[str, Any]:
    answer, said = Path(f"{log}.found"), log.read_text(errors="replace")
    found = json.loads(answer.read_text()) if answer.exists() else {"error": said[-3000:]}
    return {**found, "log": said}


if __name__ == "__main__":
    serve_lines(_serve, _answer)

"""What engines say they loaded, held against what is declared. Answers as the real servers give them, shortened."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_ctl.engines import table
from nexus_ctl.resources.deployment import DeploymentSpec


def spec(engine: str = "llamaCpp", **fields: Any) -> DeploymentSpec:
    return DeploymentSpec.model_validate({"model": "smol", "engine": {engine: fields}})


def llama(each: int = 1024, slots: int = 1, trained: int = 8192, **props: Any) -> dict[str, Any]:
    """What llama-server says."""
    own = {"default_generation_settings": {"n_ctx": each}, "total_slots": slots, "model_alias": "smol"}
    own |= {"endpoint_slots": True, "endpoint_metrics": True, "chat_template": "{{ messages }}"}
    return {"/props": own | props, "/v1/models": {"data": [{"id": "smol", "meta": {"n_ctx_train": trained}}]}}


def said(spec: DeploymentSpec, answers: dict[str, Any]) -> list[str]:
    return [str(one) for one in table.unlike(spec, answers)]


@pytest.mark.parametrize(
    ("declared", "answers"),
    [
        ({"contextSize": 1024}, llama(1024)),
        ({"contextSize": 4096, "parallel": 3}, llama(1536, 3)),  # 1365 each, rounded up
        ({"contextSize": 300}, llama(512)),
        ({"contextSize": 4096, "parallel": 2, "memory": {"kvUnified": True}}, llama(4096, 2)),
        ({"contextSize": 0}, llama(8192)),
        ({"contextSize": 0, "parallel": 2}, llama(8192, 2)),
        ({}, llama(77)),  # nothing is declared of the context
        ({"server": {"chatTemplate": "chatml"}}, llama()),  # a name comes back as its text
        ({"server": {"chatTemplate": "{{ messages }}\n"}}, llama()),
    ],
)
def test_what_is_as_declared(declared: dict[str, Any], answers: dict[str, Any]) -> None:
    assert said(spec(**declared), answers) == []


@pytest.mark.parametrize(
    ("declared", "answers", "words"),
    [
        ({"contextSize": 4096}, llama(2048), "contextSize: declared 4096, engine says 2048"),
        ({"contextSize": 2048}, llama(4096), "contextSize: declared 2048, engine says 4096"),
        (
            {"contextSize": 65536, "parallel": 2},
            llama(8192, 2),
            (
                "contextSize: declared 65536 (32768 for each of 2 slots), "
                "engine says 8192 for each of 2 slots, the model's training length"
            ),
        ),
        (
            {"contextSize": 20000, "parallel": 2, "memory": {"kvUnified": True}},
            llama(8192, 2),
            "contextSize: declared 20000, engine says 8192 for each of 2 slots, the model's training length",
        ),
        ({"contextSize": 0}, llama(4096), "contextSize: declared the training length, engine says 4096"),
        ({"parallel": 4}, llama(slots=2), "parallel: declared 4, engine says 2"),
        ({}, llama(endpoint_metrics=False), "server.metrics: declared true, engine says false"),
        ({"server": {"slots": False}}, llama(), "server.slots: declared false, engine says true"),
        (
            {"server": {"chatTemplate": "{{ x }}"}},
            llama(),
            "server.chatTemplate: declared a text, engine says another one",
        ),
    ],
)
def test_what_llama_cpp_loaded_otherwise(declared: dict[str, Any], answers: dict[str, Any], words: str) -> None:
    assert said(spec(**declared), answers) == [f"spec.engine.llamaCpp.{words}"]


def test_another_server_at_the_address_is_told_by_its_name() -> None:
    assert said(spec(), llama(model_alias="theirs")) == ["spec.model: declared smol, engine says theirs"]
    assert said(spec("vllm"), {"/v1/models": {"data": [{"id": "theirs"}]}}) == [
        "spec.model: declared smol, engine says theirs"
    ]


@pytest.mark.parametrize(("length", "words"), [(8192, []), (4096, ["8192, engine says 4096"])])
def test_vllm_s_length(length: int, words: list[str]) -> None:
    answers = {"/v1/models": {"data": [{"id": "smol", "max_model_len": length}]}}
    found = said(spec("vllm", model={"maxLength": 8192}), answers)
    assert found == [f"spec.engine.vllm.model.maxLength: declared {word}" for word in words]
    assert said(spec("vllm"), answers) == []


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"/props": None},
        {"/props": "no"},
        {"/props": [], "/v1/models": {"data": []}},
        {"/props": {"total_slots": "2", "model_alias": 7, "default_generation_settings": 1, "endpoint_slots": 1}},
        {"/v1/models": {"data": [[]]}},
    ],
)
@pytest.mark.parametrize("engine", ["llamaCpp", "vllm"])
def test_strange_answers_are_no_difference(engine: str, answers: dict[str, Any]) -> None:
    fields = {"contextSize": 4096, "parallel": 2} if engine == "llamaCpp" else {"model": {"maxLength": 4096}}
    assert said(spec(engine, **fields), answers) == []


def test_of_a_custom_engine_nothing_is_asked() -> None:
    custom = spec("custom", command=["serve", "{port}"])
    assert table.reads(custom) == ()
    assert said(custom, llama(model_alias="theirs")) == []


@pytest.mark.parametrize(
    ("declared", "path"),
    [
        (spec(), "/slots"),
        (spec(server={"slots": False}), "/metrics"),
        (spec(server={"slots": False, "metrics": False}), ""),
        (spec("vllm"), "/metrics"),
        (spec("vllm", args={"disable-log-stats": True}), ""),
        (spec("custom", command=["serve"]), ""),
    ],
)
def test_where_an_engine_says_what_it_works_on(declared: DeploymentSpec, path: str) -> None:
    signal = table.busy(declared)
    assert (signal.path if signal is not None else "") == path

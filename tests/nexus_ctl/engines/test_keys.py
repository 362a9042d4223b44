"""The key that an engine asks its callers for: by reference only, by the engine's own variable, in no word."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_ctl.engines import table
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.secret import ValueFrom

REFERENCE = {"valueFrom": {"file": "/keys/engine"}}
SOURCE = ValueFrom(file="/keys/engine")


def spec(engine: str, server: dict[str, Any], **fields: Any) -> DeploymentSpec:
    return DeploymentSpec.model_validate({"model": "smol", "engine": {engine: {"server": server}}, **fields})


@pytest.mark.parametrize(("engine", "variable"), [("llamaCpp", "LLAMA_API_KEY"), ("vllm", "VLLM_API_KEY")])
def test_it_is_a_secret_of_the_replica_by_the_engines_variable(engine: str, variable: str) -> None:
    env = {"TOKEN": {"valueFrom": {"env": "T"}}, "PLAIN": {"value": "x"}}
    launch, plain = table.launch(spec(engine, {"apiKey": REFERENCE}, env=env)), table.launch(spec(engine, {}, env=env))
    assert launch.secret_env == {variable: SOURCE, "TOKEN": ValueFrom(env="T")}
    assert launch.key_env == variable
    assert (plain.secret_env, plain.key_env) == ({"TOKEN": ValueFrom(env="T")}, "")
    assert (launch.argv, launch.env) == (plain.argv, plain.env)


@pytest.mark.parametrize(("engine", "variable"), [("llamaCpp", "LLAMA_API_KEY"), ("vllm", "VLLM_API_KEY")])
@pytest.mark.parametrize("value", [{"value": "x"}, {"valueFrom": {"env": "T"}}])
def test_a_key_behind_the_gateways_back_is_refused(engine: str, variable: str, value: dict[str, Any]) -> None:
    found = table.check(spec(engine, {}, env={variable: value}, resources={"gpus": {"count": 1}}))
    [fault] = [one for one in found if one.path == f"spec.env.{variable}"]
    assert (fault.code, fault.severity) == ("flag-by-environment", "error")
    assert "server.apiKey" in fault.hint


def test_where_the_secrets_stand() -> None:
    key, env = {"apiKey": REFERENCE}, {"env": {"TOKEN": {"valueFrom": {"env": "T"}}}}
    assert table.secrets_at(spec("llamaCpp", {})) == "spec.env"
    assert table.secrets_at(spec("llamaCpp", {}, **env)) == "spec.env"
    assert table.secrets_at(spec("llamaCpp", key), None) == "spec.engine.llamaCpp.server.apiKey"
    assert table.secrets_at(spec("vllm", {}), spec("vllm", key)) == "spec.engine.vllm.server.apiKey"
    assert table.secrets_at(spec("vllm", key, **env)) == "spec"

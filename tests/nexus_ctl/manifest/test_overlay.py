"""Environments: what `-e prod` lays over the base, by the list types of the field table."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_ctl.errors import ManifestError, UsageError
from nexus_ctl.manifest.stack import load
from nexus_ctl.resources.envelope import Ref

BASE = """\
apiVersion: nexus/v1
kind: Stack
metadata:
  name: shop
spec:
  gateway:
    listen: 127.0.0.1:9000
  environments:
    prod:
      overlays: [env/prod]
    both:
      overlays: [env/prod, env/late.yaml]
---
apiVersion: nexus/v1
kind: Model
metadata:
  name: m
spec:
  source:
    url: https://example.org/m.gguf
---
apiVersion: nexus/v1
kind: Deployment
metadata:
  name: d
  labels:
    a: base
    b: base
spec:
  model: m
  replicas: 2
  env:
    A:
      value: base
    B:
      value: base
  engine:
    llamaCpp:
      contextSize: 2048
      args:
        prio: 1
        poll: 2
---
apiVersion: nexus/v1
kind: Deployment
metadata:
  name: e
spec:
  model: m
  engine:
    llamaCpp: {}
---
apiVersion: nexus/v1
kind: Preset
metadata:
  name: p
spec:
  sampling:
    stop: [a, b]
---
apiVersion: nexus/v1
kind: Route
metadata:
  name: r
spec:
  aliases: [x]
  backends:
    - deployment: d
      weight: 3
    - deployment: e
"""
PROD = """\
apiVersion: nexus/v1
kind: Deployment
metadata:
  name: d
  labels:
    b: prod
    a: null
spec:
  replicas: null
  env:
    A: null
    B:
      value: prod
    C:
      value: prod
  engine:
    llamaCpp:
      args:
        poll: 3
---
apiVersion: nexus/v1
kind: Route
metadata:
  name: r
spec:
  aliases: [y, x]
  backends:
    - deployment: e
      weight: 5
---
apiVersion: nexus/v1
kind: Preset
metadata:
  name: p
spec:
  sampling:
    stop: [c]
---
apiVersion: nexus/v1
kind: Stack
metadata:
  name: shop
spec:
  gateway:
    listen: 127.0.0.1:9443
---
apiVersion: nexus/v1
kind: Preset
metadata:
  name: only-prod
"""
LATE = "apiVersion: nexus/v1\nkind: Deployment\nmetadata:\n  name: d\nspec:\n  replicas: 7\n"


@pytest.fixture(autouse=True)
def files(write: Any) -> None:
    write("nexus.yaml", BASE)
    write("env/prod/all.yaml", PROD)
    write("env/late.yaml", LATE)


def normalised(environment: str | None, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = load(environment=environment, environ={}).resources[Ref(kind, name)].normalised
    return found


def test_maps_merge_by_key_and_null_removes() -> None:
    deployment = normalised("prod", "Deployment", "d")
    assert deployment["env"] == {"B": {"value": "prod"}, "C": {"value": "prod"}}
    assert deployment["engine"]["llamaCpp"] == {"contextSize": 2048, "args": {"prio": 1, "poll": 3}}
    assert "replicas" not in deployment
    assert load(environment="prod").resources[Ref("Deployment", "d")].metadata.labels == {"b": "prod"}


def test_sets_unite_and_keyed_lists_merge_by_key() -> None:
    route = normalised("prod", "Route", "r")
    assert route["aliases"] == ["x", "y"]
    assert route["backends"] == [{"deployment": "d", "weight": 3}, {"deployment": "e", "weight": 5}]


def test_an_atomic_list_is_replaced() -> None:
    assert normalised("prod", "Preset", "p")["sampling"]["stop"] == ["c"]


def test_the_stack_itself_is_overlaid_and_what_is_unknown_is_added() -> None:
    prod = load(environment="prod")
    assert prod.settings.gateway.listen == "127.0.0.1:9443"
    assert Ref("Preset", "only-prod") in prod.resources
    assert Ref("Preset", "only-prod") not in load().resources


def test_later_overlays_win() -> None:
    assert normalised("both", "Deployment", "d")["replicas"] == 7


def test_overlays_that_lie_in_a_loaded_folder_are_no_base_documents() -> None:
    assert load(["."]) == load()
    assert load(["."], environment="prod") == load(environment="prod")


def test_only_the_overlays_of_the_chosen_environment_are_inputs() -> None:
    assert [one.path for one in load(["."]).inputs] == ["nexus.yaml"]
    assert [one.path for one in load(["."], environment="prod").inputs] == ["env/prod/all.yaml", "nexus.yaml"]


def test_a_fault_in_an_overlay_points_into_the_overlay(write: Any) -> None:
    write("env/prod/all.yaml", PROD.replace("weight: 5", "weight: many"))
    with pytest.raises(ManifestError) as caught:
        load(environment="prod")
    assert [str(one.location) for one in caught.value.diagnostics] == ["env/prod/all.yaml:29:15"]


def test_an_overlay_cannot_change_what_is_loaded(write: Any) -> None:
    write("env/late.yaml", "apiVersion: nexus/v1\nkind: Stack\nmetadata:\n  name: shop\nspec:\n  include: [x.yaml]\n")
    with pytest.raises(ManifestError) as caught:
        load(environment="both")
    assert [(one.code, str(one.location)) for one in caught.value.diagnostics] == [
        ("fixed-by-base", "env/late.yaml:6:3")
    ]


def test_one_layer_says_a_thing_once(write: Any) -> None:
    write("env/late.yaml", LATE + "---\n" + LATE)
    with pytest.raises(ManifestError) as caught:
        load(environment="both")
    assert [(one.code, one.location.line) for one in caught.value.diagnostics] == [("duplicate-resource", 11)]


def test_a_second_stack_cannot_come_from_an_overlay(write: Any) -> None:
    write("env/late.yaml", "apiVersion: nexus/v1\nkind: Stack\nmetadata:\n  name: other\n")
    with pytest.raises(ManifestError) as caught:
        load(environment="both")
    assert [one.code for one in caught.value.diagnostics] == ["duplicate-stack"]


def test_an_unknown_environment_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        load(environment="prd")
    assert caught.value.hint == 'did you mean "prod"?'


def test_with_settings_from_above_an_overlay_touches_only_what_is_named(write: Any) -> None:
    path = write("one/d.yaml", BASE.split("---\n")[2].replace("name: d", "name: d") + "---\n" + BASE.split("---\n")[1])
    stack = load([str(path)], environment="both")
    assert {str(ref) for ref in stack.resources} == {"Deployment/d", "Model/m"}
    assert stack.resources[Ref("Deployment", "d")].spec.replicas == 7
    assert stack.settings.gateway.listen == "127.0.0.1:9443"

"""Valid resources with few words: `a_model()`, `a_deployment(replicas=2)`, `a_stack(...)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Metadata, Resource
from nexus_ctl.resources.kinds import KINDS
from nexus_ctl.resources.stack import StackSpec


def a_resource(kind: str, name: str, spec: Mapping[str, Any], **annotations: str) -> Resource[Any]:
    """A resource from its camelCase spec; annotation keys are given without prefix, `_` for `-`."""
    noted = {f"nexusctl/{key.replace('_', '-')}": value for key, value in annotations.items()}
    parsed = KINDS[kind].spec.model_validate(dict(spec), by_alias=True, by_name=False)
    return Resource(kind, Metadata(name, {}, noted), parsed)


def a_model(name: str = "smol", *, quantize: str = "", **annotations: str) -> Resource[Any]:
    """A Model behind a URL, quantized if a type is given."""
    built = {"quantize": {"type": quantize}} if quantize else {}
    return a_resource("Model", name, {"source": {"url": f"http://models.test/{name}.gguf"}, **built}, **annotations)


def a_deployment(
    name: str = "chat", *, model: str = "smol", context: int = 2048, annotations: Mapping[str, str] = {}, **spec: Any
) -> Resource[Any]:
    """A Deployment of a Model; further spec fields in camelCase."""
    engine = {"llamaCpp": {"contextSize": context, "threads": {"generation": 1}}}
    return a_resource("Deployment", name, {"model": model, "engine": engine, **spec}, **annotations)


def a_preset(name: str = "precise", temperature: float = 0.7, **annotations: str) -> Resource[Any]:
    """A Preset with a temperature."""
    return a_resource("Preset", name, {"sampling": {"temperature": temperature}}, **annotations)


def a_route(name: str = "chat", *deployments: str, preset: str | None = None, **annotations: str) -> Resource[Any]:
    """A Route to deployments, `chat` when none is named."""
    backends = [{"deployment": each} for each in deployments or ("chat",)]
    spec: dict[str, Any] = {"backends": backends}
    return a_resource("Route", name, spec | ({"preset": preset} if preset else {}), **annotations)


def a_stack(*resources: Resource[Any], name: str = "demo", **settings: Any) -> Stack:
    """A Stack of resources."""
    spec = StackSpec.model_validate(settings, by_alias=True, by_name=False)
    return Stack(name, spec, {resource.ref: resource for resource in sorted(resources, key=lambda r: r.ref)})


def the_demo(**changes: Any) -> Stack:
    """Model, Deployment, Preset and Route: the stack of `make run` in small."""
    return a_stack(a_model(), a_deployment(**changes), a_preset(), a_route(preset="precise"))

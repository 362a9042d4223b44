"""The model files that a deployment's replicas read: their headers, and what they say against the declared fields.

`headers` reads, while observing and only where a replica is to be made; the rest is pure and called by the plan. The
rule: what cannot be read is left out; the Model's own plan says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controllers.base import Scene
from nexus_ctl.artifacts.headers.window import NotGguf
from nexus_ctl.engines import table as engines
from nexus_ctl.engines.llama_cpp_companions import companions
from nexus_ctl.engines.llama_cpp_fields import PATH
from nexus_ctl.engines.llama_cpp_headers import SERVED
from nexus_ctl.errors import ActionError
from nexus_ctl.execution.world import World
from nexus_ctl.planning.change import Reason
from nexus_ctl.resources.artifact import Request
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import Resource
from nexus_ctl.resources.launch import meant
from nexus_ctl.resources.observed import ObservedDeployment, ObservedModel
from nexus_ctl.resources.weights import GgufHeader


@dataclass(frozen=True, slots=True)
class Headers:
    """What a deployment's files say, by the path of the reference: `spec.model`, `spec.engine.llamaCpp.draft.model`."""

    found: Mapping[str, GgufHeader]
    no_gguf: Mapping[str, str]
    """Files of an engine that takes GGUF alone which are something else."""
    checkpoint: Checkpoint | None = None
    """The model of an engine that takes safetensors."""


def headers(world: World, scene: Scene, spec: DeploymentSpec) -> Headers:
    """Of each file that the spec refers to."""
    if spec.engine.vllm is not None:
        return Headers({}, {}, _checkpoint(world, scene.models.get(spec.model, ObservedModel()).request))
    engine = spec.engine.llama_cpp
    files = {SERVED: (spec.model, engine.file if engine is not None else None)}
    if engine is not None:
        files |= {f"{PATH}.{one.path}.model": (one.mount.model, one.mount.file) for one in companions(engine)}
    found, others = {}, {}
    for path, (name, file) in files.items():
        request = scene.models.get(name, ObservedModel()).request
        try:
            header = _header(world, request, file or "") if request is not None else None
        except NotGguf as error:
            if engine is not None:
                others[path] = f"Model/{name}: {error.detail}"
            continue
        except ActionError:
            continue
        if header is not None:
            found[path] = header
    return Headers(found, others)


def known_headers(observed: ObservedDeployment) -> Mapping[str, GgufHeader]:
    """The same, of what was observed."""
    return {**({SERVED: observed.header} if observed.header is not None else {}), **observed.beside}


def _header(world: World, request: Request, file: str) -> GgufHeader | None:
    token = request.source.token
    return world.artifacts.header(request, world.secret(token.value_from) if token is not None else None, file)


def _checkpoint(world: World, request: Request | None) -> Checkpoint | None:
    token = request.source.token if request is not None else None
    try:
        secret = world.secret(token.value_from) if token is not None else None
        return world.artifacts.checkpoint(request, secret) if request is not None else None
    except ActionError:
        return None


def wrong_files(desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> list[Reason]:
    """Where it is not clear which file is meant, and files that do not go together."""
    reasons = [
        Reason("file_says_otherwise", path, detail=f"{why}; llama.cpp serves GGUF files alone: name one, or convert it")
        for path, why in observed.no_gguf.items()
    ]
    for mount in scene.launches[desired.ref].mounts:
        artifact = scene.models.get(mount.model, ObservedModel()).artifact
        try:
            meant(artifact.files if artifact is not None else (), mount)
        except ValueError as error:
            reasons.append(Reason("model_file_unclear", "spec.engine", detail=f"{error}; say which by file"))
    faults = engines.check_headers(desired.spec, known_headers(observed))
    errors = (fault for fault in faults if fault.severity == "error")
    return reasons + [Reason("file_says_otherwise", one.path, detail=f"{one.detail}; {one.hint}") for one in errors]


def doubts(spec: DeploymentSpec, observed: ObservedDeployment) -> tuple[str, ...]:
    """What the headers of the files make doubtful."""
    faults = engines.check_headers(spec, known_headers(observed))
    return tuple(f"warning: {one.path}: {one.detail}; {one.hint}" for one in faults if one.severity == "warning")

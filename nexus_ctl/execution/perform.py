"""One function per action: what is called outside, and what an answer means (crash matrix 2.3).

Every function may be called again after an unknown outcome: "exists already and is ours" and "is gone already" are
success. Nothing is decided here; what is to be done stands in the action.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import assert_never

from nexus_ctl.engines.table import answers_to, key_of
from nexus_ctl.errors import Bug, Conflict, NameInUse, NotFound, Refused, Retryable, Terminal
from nexus_ctl.execution.secrets import sendable
from nexus_ctl.execution.world import World
from nexus_ctl.planning.action import (
    Action,
    AdoptReplica,
    AwaitReady,
    ConvertModel,
    CreateReplica,
    DeletePreset,
    DeleteRoute,
    Drain,
    FetchModel,
    PinModel,
    Publish,
    PullImage,
    PutPreset,
    PutRoute,
    QuantizeModel,
    RemoveReplica,
    ResumeReplica,
    StartReplica,
    StopReplica,
    Sweep,
    UnpinModel,
    UpdateLimits,
    Withdraw,
)
from nexus_ctl.resources import routing
from nexus_ctl.resources.artifact import ProgressSink
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.launch import with_files
from nexus_ctl.resources.replica import Replica
from nexus_ctl.runtimes.port import Runtime


def perform(action: Action, ref: Ref, world: World, progress: ProgressSink) -> None:
    """Carry out one action that is not a wait. Raises ActionError, Conflict, MachineError."""
    runtime = world.runtime_of(ref)
    match action:
        case FetchModel():
            token = world.secret(action.token.value_from) if action.token is not None else None
            world.artifacts.fetch(action.request, action.offer, progress, token)
        case ConvertModel() | QuantizeModel():
            world.artifacts.build(action.request, action.identity, progress, action.tool)
        case PinModel():
            world.artifacts.pin(action.pin)
        case UnpinModel():
            world.artifacts.unpin(action.pin, delete_bytes=action.delete_bytes)
        case PullImage():
            if world.images is None:
                raise Bug(f"no runtime here has images, and {action.name} is to be pulled")
            world.images.pull(action.name, world.credentials(action.login), progress, digest=action.digest)
        case CreateReplica():
            _create(action, runtime, world)
        case StartReplica():
            _start(action, runtime, world)
        case StopReplica():
            _unless_gone(lambda: runtime.stop(action.name, action.grace_seconds))
        case ResumeReplica():
            runtime.resume(action.name)
        case RemoveReplica():
            if world.keys.of(action.name):  # first: a run that dies in between still finds the replica
                world.keys.drop(action.name)
            _unless_gone(lambda: runtime.remove(action.name))
        case Sweep():
            runtime.sweep(action.name)
        case AdoptReplica(name=name, runtime_id=runtime_id, owner=owner):
            runtime.adopt(name, runtime_id, owner)
        case UpdateLimits():
            _update(action, runtime)
        case Publish():
            _publish(action, runtime, world)
        case Withdraw():
            if world.keys.of(action.name) and runtime.inspect(action.name) is None:
                world.keys.drop(action.name)  # nobody is left to remove it with
            world.routing.change(lambda table: routing.without_endpoint(table, action.deployment, action.name))
        case PutPreset(name=name) | DeletePreset(name=name):
            preset = action.entry if isinstance(action, PutPreset) else None
            world.routing.change(lambda table: routing.with_preset(table, name, preset))
        case PutRoute(name=name) | DeleteRoute(name=name):
            route = action.entry if isinstance(action, PutRoute) else None
            world.routing.change(lambda table: routing.with_route(table, name, route))
        case AwaitReady() | Drain():
            raise Bug(f"{type(action).__name__} is a wait, not an effect")
        case _:
            assert_never(action)


def _create(action: CreateReplica, runtime: Runtime, world: World) -> None:
    """Make it; a replica of that name made from the same is the one that an interrupted run made."""
    replica = _with_files(action, world)
    try:
        runtime.create(replica)
    except NameInUse as error:
        there = runtime.inspect(replica.name)
        owner = there.owner if there is not None else None
        if owner is None or not owner.same_make(replica.owner):
            whose = "another nexusctl's" if owner is not None else "not nexusctl's"
            raise Conflict(
                f"{replica.name} exists and is {whose}",
                hint="rename or remove it, then apply again",
                code="unowned-exists",
            ) from error


def _with_files(action: CreateReplica, world: World) -> Replica:
    files = {}
    for model, request in action.models.items():
        artifact = world.artifacts.find(request)
        if artifact is None:
            raise Retryable(f"the file of Model/{model} is not in the cache any more", hint="nexusctl apply")
        files[model] = artifact.files or (artifact.path,)
    try:
        return replace(action.replica, launch=with_files(action.replica.launch, files))
    except ValueError as error:
        raise Terminal(str(error), hint="say which by file", code="model-file-unclear") from error


def _start(action: StartReplica, runtime: Runtime, world: World) -> None:
    """Start it; the key that it will ask for is kept first, for whoever asks it from its first moment on."""
    secrets = {name: world.secret(source) for name, source in action.secret_env.items()}
    if action.key_env:
        world.keys.put(action.name, sendable(secrets[action.key_env]))
    runtime.start(action.name, secrets)


def _unless_gone(call: Callable[[], None]) -> None:
    with suppress(NotFound):
        call()


def _update(action: UpdateLimits, runtime: Runtime) -> None:
    runtime.update(action.name, action.limits)
    there = runtime.inspect(action.name)
    if there is None or there.limits != action.limits:
        found = there.limits if there is not None else "nothing"
        raise Refused(f"{action.name}: the runtime said yes, but its limits read back as {found}")


def _publish(action: Publish, runtime: Runtime, world: World) -> None:
    there = runtime.inspect(action.name)
    if there is None or not there.address:
        raise Retryable(f"{action.name} has no address to publish: it is {there.state if there else 'gone'}")
    address, names = there.address, answers_to(there.owner) if there.owner is not None else ()
    source = key_of(there.owner) if there.owner is not None else None
    if source is not None and not world.keys.of(action.name):
        world.keys.put(action.name, world.key(source))
    world.routing.change(lambda table: routing.with_endpoint(table, action.deployment, action.name, address, names))

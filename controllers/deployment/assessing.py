"""What is true of a Deployment: its conditions, lifecycle and columns. Pure."""

from __future__ import annotations

from controllers.base import Assessment, Scene
from controllers.make import differences
from controllers.reverting import went_back
from nexus_ctl.engines import table as engines
from nexus_ctl.planning.memory import refusal
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.conditions import EFFECTIVE, PLACED, STALLED, Condition
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.observed import ObservedDeployment, ReplicaView
from nexus_ctl.resources.replica import Health, ReplicaState


def assess(
    ref: Ref, desired: Resource[DeploymentSpec] | None, observed: ObservedDeployment, scene: Scene
) -> Assessment:
    """Started, Healthy, Routed and Ready, counted over current replicas; Effective by what their engines say."""
    wanted = desired.spec.replicas if desired is not None else 0
    current = _current(desired, observed, scene) if desired is not None else list(observed.replicas)
    started = [view for view in current if view.replica.state is ReplicaState.RUNNING]
    healthy = [view for view in started if view.health is Health.READY]
    routed = [view for view in healthy if view.replica.name in observed.endpoints]
    former = [
        f"{view.replica.name} serves as declared before"
        for view in observed.replicas
        if view not in current and view.health is Health.READY and view.replica.name in observed.endpoints
    ]
    looping = [scene.waiting[view.replica.name] for view in current if view.replica.name in scene.waiting]
    conditions = [
        _counted("Started", len(started), wanted, "NotRunning", observed),
        _counted("Healthy", len(healthy), wanted, "NotReady", observed),
        _counted("Routed", len(routed), wanted, "NotInTable", observed),
        _counted("Ready", len(routed), wanted, _shortage(looping, former), observed, *looping, *former),
    ]
    if ref in scene.held:
        conditions.append(Condition(STALLED, "True", "RolledBack", went_back(ref, scene)))
    if desired is not None:
        conditions += _effective(desired.spec, healthy)
        conditions += _placed(desired, observed, scene)
    ended = any(view.replica.exit is not None for view in current)
    columns = {"REPLICAS": f"{len(routed)}/{wanted}", "MODEL": desired.spec.model if desired is not None else "-"}
    columns["GPU"] = ",".join(dict.fromkeys(_devices_of(started, scene))) or "-"
    return Assessment(
        tuple(conditions),
        _lifecycle(wanted, len(started), len(routed), ended),
        columns,
    )


def _devices_of(views: list[ReplicaView], scene: Scene) -> list[str]:
    """Names of the devices that running replicas lie on."""
    placed = [scene.machine.placed.get(view.replica.name) for view in views]
    return [scene.machine.name_of(device) for one in placed if one is not None for device in one.devices]


def _placed(desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> list[Condition]:
    """Where the replicas lie and what is counted on for them, or why one has no place; nothing where unknown."""
    seat = scene.berths[desired.ref].seat
    if seat is not None and seat.refused is not None:
        why = refusal(desired.spec, observed.header, seat.refused, scene.machine, observed.checkpoint)
        return [Condition(PLACED, "False", "DoesNotFit", why.detail)]
    lines = []
    for view in observed.replicas:
        claims = scene.machine.held_by(view.replica.name)
        where = (f"{scene.machine.name_of(place)} {human_bytes(size)}" for place, size in claims.items())
        lines += [f"{view.replica.name}: {', '.join(where)}"] if claims else []
    return [Condition(PLACED, "True", "CountedOn", "; ".join(lines))] if lines else []


def _effective(spec: DeploymentSpec, ready: list[ReplicaView]) -> list[Condition]:
    """Whether the engines loaded what is declared, by their own word; nothing where none of them says."""
    told = [view for view in ready if view.answers]
    unlike = dict.fromkeys(str(one) for view in told for one in engines.unlike(spec, view.answers))
    if unlike:
        return [Condition(EFFECTIVE, "False", "LoadedOtherwise", "; ".join(unlike))]
    return [Condition(EFFECTIVE, "True", "LoadedAsDeclared", f"{len(told)} asked")] if told else []


def _current(desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> list[ReplicaView]:
    """The replicas that are what is declared."""
    by_index = dict(enumerate(scene.berths[desired.ref].incoming))
    owned = [(view, view.replica.owner.replica) for view in observed.replicas if view.replica.owner is not None]
    return [view for view, i in owned if i in by_index and not differences(desired, view, by_index[i])]


def _lifecycle(wanted: int, started: int, routed: int, ended: bool) -> str:
    if wanted and routed >= wanted:
        return "READY"
    return "LOADING" if started else "FAILED:LOADING" if ended else "STOPPED"


def _shortage(looping: list[str], former: list[str]) -> str:
    return "CrashLoop" if looping else "OutOfDate" if former else "ReplicasMissing"


def _counted(type_: str, have: int, wanted: int, reason: str, observed: ObservedDeployment, *more: str) -> Condition:
    if have >= wanted:
        return Condition(type_, "True", "AllReplicas", f"{have} of {wanted}")
    exits = [(view.replica.name, view.replica.exit) for view in observed.replicas if view.replica.exit is not None]
    ended = [f"{name} {how}" + (f": {how.error}" if how.error else "") for name, how in exits]
    ended += [f"{view.replica.name} is paused" for view in observed.replicas if view.replica.paused]
    return Condition(type_, "False", reason, "; ".join([f"{have} of {wanted}", *ended, *more]))

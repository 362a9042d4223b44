"""The gateway: a managed replica of its own, outside containers, that serves the routing table.

It exists exactly while the stack has routes. It follows the table by itself, so only a change of its listener ever
replaces it; it keeps serving when nexusctl, the daemon and the database are gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controllers.base import Assessment, Controller, Scene, Sighting
from controllers.removal import removal
from nexus_ctl.execution.world import World
from nexus_ctl.planning import rollout
from nexus_ctl.planning.action import StartReplica
from nexus_ctl.planning.change import Change, Reason, Step, Verb
from nexus_ctl.planning.diff import compare
from nexus_ctl.planning.plan import blocked
from nexus_ctl.planning.replicas import Fleet, Seen, plan_replicas
from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.launch import LaunchSpec, Limits, ReadyProbe
from nexus_ctl.resources.normal import Normal, canonical_json
from nexus_ctl.resources.observed import ObservedGateway, ReplicaView
from nexus_ctl.resources.ownership import Ownership, replica_name
from nexus_ctl.resources.replica import Health, ObservedReplica, Replica, ReplicaState
from nexus_ctl.resources.stack import GatewaySettings

KIND = "Gateway"
PROGRAM = "nexus-gateway"
PROBE = ReadyProbe(path="/health", progress_deadline_seconds=20.0, healthy_deadline_seconds=30.0)
GRACE_SECONDS = 35.0
"""Time for the requests in flight after the gateway was asked to end."""
OWN_TABLE = "own-table"
"""In the names of gateways that follow their stack's own table; at first they followed one that stacks shared."""


def present(sighting: Sighting, set_name: str) -> frozenset[Ref]:
    """The gateway of this set, when any process of it exists."""
    owners = [replica.owner for replica in sighting.host_replicas if replica.owner is not None]
    return frozenset(Ref(KIND, owner.name) for owner in owners if (owner.set, owner.kind) == (set_name, KIND))


def observe(
    world: World, sighting: Sighting, scene: Scene, desired: Mapping[Ref, Resource[Any]], refs: frozenset[Ref]
) -> Mapping[Ref, ObservedGateway]:
    """The gateway's processes, the running ones probed."""
    ours = [r for r in sighting.host_replicas if r.owner and (r.owner.set, r.owner.kind) == (scene.set, KIND)]
    views = tuple(ReplicaView(r, world.prober.look(r.address, PROBE) if _listens(r) else Health.DOWN) for r in ours)
    former = frozenset(r.name for r in ours if r.owner is not None and r.name != _name(r.owner))
    astray = former if former and not world.routing.has_shared() else frozenset()
    found = {}
    for ref in refs:
        want = {_incoming(desired[ref], scene).name} if ref in desired else set()
        taken = want - {view.replica.name for view in views}
        in_the_way = frozenset(name for name in taken if world.host.inspect(name) is not None)
        rival = _rival(world, sighting, views, desired[ref].spec.listen) if ref in desired else ""
        found[ref] = ObservedGateway(views, in_the_way, rival, astray)
    return found


def _listens(replica: ObservedReplica) -> bool:
    return replica.state is ReplicaState.RUNNING and not replica.paused


def _rival(world: World, sighting: Sighting, ours: tuple[ReplicaView, ...], listen: str) -> str:
    """Who answers at the address; "" when nobody does, or one of ours."""
    address = f"http://{listen}"

    def there(replica: ObservedReplica) -> bool:
        return replica.state is ReplicaState.RUNNING and replica.address == address

    if any(there(view.replica) for view in ours):
        return ""
    other = next((r.owner for r in sighting.host_replicas if r.owner and r.owner.kind == KIND and there(r)), None)
    if other is not None:
        return f"the gateway of the stack {other.set}"
    return "something else" if world.prober.look(address, PROBE) is not Health.DOWN else ""


def applied(observed: ObservedGateway) -> Normal | None:
    """What the gateway was started with."""
    owners = [view.replica.owner for view in observed.replicas if view.replica.owner is not None]
    return json.loads(owners[0].spec) if owners else None


def plan(ref: Ref, desired: Resource[GatewaySettings] | None, observed: ObservedGateway, scene: Scene) -> Change:
    """Start it, start it again, exchange it for one with another listener, or take it down."""
    if desired is None:
        steps = rollout.joined([rollout.take_down(_outgoing(view)) for view in observed.replicas])
        return removal(ref, scene, "", steps)
    new = _incoming(desired, scene)
    if observed.in_the_way:
        return blocked(ref, Reason("unowned_exists", source="drift", detail=", ".join(sorted(observed.in_the_way))))
    if observed.rival:
        detail = (
            f"{observed.rival} listens on {desired.spec.listen}; give spec.gateway.listen of this stack another port"
        )
        return blocked(ref, Reason("address_taken", "spec.gateway.listen", detail=detail))
    fleet = Fleet(
        ref=ref,
        route="",
        incoming=(new,),
        limits=Limits(),
        exchange=Verb.REPLACE_STOP_FIRST if observed.astray else Verb.REPLACE_START_FIRST,
        exchange_reason=None,
        heal=True,
        differences=lambda view, _: _differences(desired, view, observed),
        outgoing=lambda view, _: _outgoing(view),
        waiting=scene.waiting,
    )
    change = plan_replicas(fleet, Seen(observed.replicas))
    return replace(change, notes=(f"listens on {desired.spec.listen}",)) if change.steps else change


def _differences(
    desired: Resource[GatewaySettings], view: ReplicaView, observed: ObservedGateway
) -> tuple[Reason, ...]:
    assert view.replica.owner is not None
    before = json.loads(view.replica.owner.spec)
    reasons = tuple(map(Reason.of, compare(GatewaySettings, before, desired.normalised)))
    if view.replica.name in observed.astray:
        reasons += (Reason("drift_field", "table", source="drift", detail="it follows another stack's table"),)
    return reasons


def _name(owner: Ownership) -> str:
    return replica_name(owner.set, "gateway", owner.replica, owner.instance, owner.spec_hash, OWN_TABLE)


def _incoming(desired: Resource[GatewaySettings], scene: Scene) -> rollout.Incoming:
    owner = Ownership(
        instance=scene.instance,
        set=scene.set,
        kind=KIND,
        name=desired.metadata.name,
        replica=0,
        spec_hash=desired.spec_hash,
        spec=canonical_json(desired.normalised),
        version=scene.version,
    )
    listen = desired.spec.listen
    launch = LaunchSpec((PROGRAM, "--table", scene.table_path, "--listen", listen), fixed_listen=listen)
    return rollout.Incoming(Replica(_name(owner), owner, launch), {}, PROBE)


def _outgoing(view: ReplicaView) -> rollout.Outgoing:
    running = view.replica.state is ReplicaState.RUNNING
    name = view.replica.name
    return rollout.Outgoing(name, running, "", 0.0, GRACE_SECONDS, StartReplica(name), PROBE)


def forget(ref: Ref, observed: ObservedGateway) -> tuple[Step, ...]:
    """A gateway is named after its stack and never renamed."""
    return ()


def assess(ref: Ref, desired: Resource[GatewaySettings] | None, observed: ObservedGateway, scene: Scene) -> Assessment:
    """Ready when one process answers its health check."""
    ready = [view for view in observed.replicas if view.health is Health.READY]
    columns = {"ADDRESS": ready[0].replica.address if ready else "-"}
    if ready:
        return Assessment((Condition("Ready", "True", "Answers", ready[0].replica.address),), "READY", columns)
    return Assessment((Condition("Ready", "False", "NotRunning", "no gateway process answers"),), "STOPPED", columns)


CONTROLLER = Controller(KIND, present, observe, applied, plan, forget, assess)

"""Why nothing may be done for a Deployment, said before anything of it is stopped. Pure; called by its plan."""

from __future__ import annotations

from controllers.base import Scene
from controllers.deployment import adopting
from controllers.deployment.files import wrong_files
from nexus_ctl.engines import table as engines
from nexus_ctl.planning.change import Change, Reason
from nexus_ctl.planning.memory import refusal
from nexus_ctl.planning.plan import blocked
from nexus_ctl.planning.running import candidates, counts_of
from nexus_ctl.planning.seats import Seat
from nexus_ctl.resources.container import Container
from nexus_ctl.resources.declared import models_of
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import ADOPT, Ref, Resource
from nexus_ctl.resources.observed import ObservedDeployment, ObservedModel


def obstacle(ref: Ref, desired: Resource[DeploymentSpec], observed: ObservedDeployment, scene: Scene) -> Change | None:
    """Why nothing may be done, before anything is stopped."""
    if observed.error:
        where = engines.secrets_at(desired.spec)
        return blocked(ref, Reason("secret_unavailable", where, detail=observed.error))
    for path, name in models_of(desired.spec).items():
        if not scene.models.get(name, ObservedModel()).identity:
            detail = f"the bytes of Model/{name} are neither here nor to be had"
            return blocked(ref, Reason("dependency_blocked", path, source="dependency", detail=detail))
    if wrong := wrong_files(desired, observed, scene):
        return blocked(ref, *wrong)
    here = scene.capabilities
    refused = sorted(word for word in scene.launches[ref].argv if word in here.refused_flags)
    if refused:
        detail = f"the engine of the {here.driver} runtime cannot honour {', '.join(refused)}"
        return blocked(ref, Reason("flag_not_supported", "spec.engine", detail=detail))
    cpu = desired.spec.resources.cpu
    if cpu is not None and cpu != int(cpu) and not here.fractional_cpu:
        detail = f"the {here.driver} runtime pins whole cores; write a whole number"
        return blocked(ref, Reason("limit_not_supported", "spec.resources.cpu", after=cpu, detail=detail))
    if desired.spec.resources.gpus is not None and not here.gpus:
        detail = f"the {here.driver} runtime hands out no GPUs; leave spec.resources.gpus out, or use a Docker engine"
        return blocked(ref, Reason("gpus_not_supported", "spec.resources.gpus", detail=detail))
    if desired.spec.container != Container() and not here.images:
        detail = f"the {here.driver} runtime has no containers; leave spec.container out, or declare driver: docker"
        return blocked(ref, Reason("container_not_supported", "spec.container", detail=detail))
    if why := adopting.why_not(desired, observed, scene):
        return blocked(ref, Reason("not_adoptable", f"metadata.annotations.{ADOPT}", source="request", detail=why))
    if observed.in_the_way:
        there = ", ".join(sorted(observed.in_the_way))
        way_out = f"rename or remove it, or take it over: annotate {ADOPT}, and apply --adopt=if-unowned"
        detail = f"{there} exists and is not nexusctl's; {way_out}"
        return blocked(ref, Reason("unowned_exists", source="drift", detail=detail))
    return None


def no_place(
    desired: Resource[DeploymentSpec], observed: ObservedDeployment, seat: Seat | None, scene: Scene
) -> Reason | None:
    """Why a replica that is to be made finds no place; None when it does, or when nothing is known."""
    gpus, machine = desired.spec.resources.gpus, scene.machine
    if gpus is not None and machine.gpus.devices.devices:
        here = candidates(gpus, machine.gpus.devices.devices)
        needed = max(counts_of(gpus, len(here)), default=1)
        if len(here) < needed:
            names = ", ".join(device.short_name for device in machine.gpus.devices.devices if not device.lost)
            detail = f"{needed} asked for, {len(here)} of them here; there are: {names or 'none that answers'}"
            return Reason("insufficient_gpu", "spec.resources.gpus", detail=detail)
    elif gpus is not None and gpus.count == "auto":
        why = machine.gpus.devices.reason or "none is seen"
        detail = f"count: auto needs GPUs that nexusctl sees; {why}; give a number"
        return Reason("insufficient_gpu", "spec.resources.gpus.count", detail=detail)
    if seat is None:
        return None
    if seat.refused is None:
        run = next((one.run for _, one in sorted(seat.seated.items()) if one.run.short), None)
        return Reason("insufficient_gpu", run.short_at, detail=run.short) if run is not None else None
    return refusal(desired.spec, observed.header, seat.refused, machine, observed.checkpoint)

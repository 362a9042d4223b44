"""`nexusctl export`: what is declared, in the words of another tool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from nexus_ctl.cli.invocation import Invocation, Workspace
from nexus_ctl.cli.options import stack_options

if TYPE_CHECKING:
    from nexus_ctl.views.compose import Service


@click.group("export")
def command() -> None:
    """Write what is declared in the words of another tool."""


@command.command("compose")
@stack_options
@click.pass_obj
def compose(invocation: Invocation, *, files: tuple[str, ...], environment: str | None) -> None:
    """Print a Compose file that runs the same containers.

    Every Deployment becomes a service with the image, command, mounts, limits, GPUs and confinement that nexusctl gives
    it; replicas that lie on GPUs become one each, with their GPUs and their part of them. Secrets become variables that
    must be set. Routes, presets and draining stay behind: they are the gateway's.
    """
    from nexus_ctl.cli.inputs import load_stack
    from nexus_ctl.errors import UsageError
    from nexus_ctl.views.compose import text

    stack = load_stack(files, environment)
    if not any(ref.kind == "Deployment" for ref in stack.resources):
        raise UsageError("no Deployment is declared", code="unknown-object", hint="nexusctl init")
    with invocation.workspace(stack, invocation.command) as workspace:
        services = list(_services(workspace))
    left_out = (str(ref) for ref in stack.resources if ref.kind in ("Route", "Preset"))
    click.echo(text(stack.name, services, left_out), nl=False)


def _services(workspace: Workspace) -> Iterator[Service]:
    """Each declared deployment with its files in place. Raises UsageError where a file or an image name is missing."""
    from dataclasses import replace

    from controllers.model.requests import declared_request
    from controllers.standing import standing
    from nexus_ctl.engines import table as engines
    from nexus_ctl.errors import UsageError
    from nexus_ctl.resources.declared import models_of
    from nexus_ctl.resources.launch import with_files
    from nexus_ctl.resources.observed import ObservedModel
    from nexus_ctl.views.compose import Service, each_where_it_lies

    session, stack = workspace.session, workspace.stack
    world, replicas = session.world, session.world.runtime.list()
    for ref, deployment in stack.resources.items():
        if ref.kind != "Deployment":
            continue
        if not engines.launch(deployment.spec).image:
            raise UsageError(f"{ref} names no container image", code="no-image", hint="engine.custom.image")
        models = {}
        for model in models_of(deployment.spec).values():
            request = declared_request(stack, model)
            artifact = world.artifacts.find(request)
            if artifact is None:
                raise UsageError(f"the file of Model/{model} is not here yet", hint="nexusctl apply", code="not-here")
            models[model] = ObservedModel(request=request, artifact=artifact)
        found = {name: one.artifact for name, one in models.items() if one.artifact is not None}
        files = {name: artifact.files or (artifact.path,) for name, artifact in found.items()}
        specs = standing(world, replace(session.scene, models=models), deployment, replicas)
        for name, spec, note in each_where_it_lies(ref.name, deployment.spec, specs):
            try:
                launch = with_files(engines.launch(spec), files)
            except ValueError as error:
                raise UsageError(f"{ref}: {error}", hint="say which by file", code="model-file-unclear") from error
            local = world.images.image(launch.image) if world.images is not None else None
            yield Service(name, spec, launch, local.entrypoint if local is not None else None, note)

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
    it. Secrets become variables that must be set. Routes, presets and draining stay behind: they are the gateway's.
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
    from controllers.model.requests import declared_request
    from nexus_ctl.engines import table as engines
    from nexus_ctl.errors import UsageError
    from nexus_ctl.resources.declared import models_of
    from nexus_ctl.resources.launch import with_files
    from nexus_ctl.views.compose import Service

    world, resources = workspace.session.world, workspace.stack.resources
    for ref, deployment in resources.items():
        if ref.kind != "Deployment":
            continue
        launch = engines.launch(deployment.spec)
        if not launch.image:
            raise UsageError(f"{ref} names no container image", code="no-image", hint="engine.custom.image")
        files = {}
        for model in models_of(deployment.spec).values():
            artifact = world.artifacts.find(declared_request(workspace.stack, model))
            if artifact is None:
                raise UsageError(f"the file of Model/{model} is not here yet", hint="nexusctl apply", code="not-here")
            files[model] = artifact.files or (artifact.path,)
        try:
            launch = with_files(launch, files)
        except ValueError as error:
            raise UsageError(f"{ref}: {error}", hint="say which by file", code="model-file-unclear") from error
        local = world.images.image(launch.image) if world.images is not None else None
        yield Service(ref.name, deployment.spec, launch, local.entrypoint if local is not None else None)

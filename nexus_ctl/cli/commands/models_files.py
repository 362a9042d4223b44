"""`nexusctl models files`: what a model's source holds, what of it is here, and what the manifests take."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import click

from nexus_ctl.cli.invocation import Invocation, Workspace
from nexus_ctl.cli.options import output_option, refresh_option, stack_options

if TYPE_CHECKING:
    from nexus_ctl.cli.model_target import HubTarget
    from nexus_ctl.resources.catalog import Repository
    from nexus_ctl.resources.declared import Stack
    from nexus_ctl.views.repo_files import ListedFile


@click.command("files")
@click.argument("model", metavar="NAME|hf:OWNER/NAME[/PATTERN]")
@refresh_option
@stack_options
@output_option("table", "json", "yaml", "name")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    model: str,
    refresh: bool,
    files: tuple[str, ...],
    environment: str | None,
    output: str,
) -> None:
    """List the files of a hub repository.

    HERE says which cache has a file already, GROUP which files are parts of one split model, TAKEN BY which declared
    Models take it by their patterns.
    """
    from nexus_ctl.cli.inputs import empty_stack, stack_if_any
    from nexus_ctl.cli.printing import print_value
    from nexus_ctl.views import repo_files as view
    from nexus_ctl.views.freshness import as_of

    stack = stack_if_any(files, environment)
    with invocation.workspace(stack or empty_stack(), invocation.command) as workspace:
        target, token = _repository(model, stack, workspace)
        found = workspace.catalog.repository(target.repo, target.revision, token=token, refresh=refresh)
        listed = [one for one in _listed(found, stack, workspace) if fnmatchcase(one.file.name, target.file or "*")]
        now = workspace.clock.now()
    if output in ("json", "yaml"):
        print_value(view.to_json(f"hf:{found.repo}@{found.revision}", found.commit, listed, found.fresh), output)
    elif output == "name":
        click.echo(view.names(listed), nl=False)
    else:
        click.echo(view.text(listed), nl=False)
    click.echo(as_of(found.fresh, now), err=True)


def _repository(model: str, stack: Stack | None, workspace: Workspace) -> tuple[HubTarget, str | None]:
    """The repository meant, and the token that its manifest refers to. Raises UsageError for a model without one."""
    from nexus_ctl.cli.model_facts import token_of
    from nexus_ctl.cli.model_target import HubTarget, ModelTarget, target_of
    from nexus_ctl.errors import UsageError

    target = target_of(model, stack)
    if isinstance(target, HubTarget):
        return target, None
    if isinstance(target, ModelTarget) and (source := target.resource.spec.source.hugging_face) is not None:
        return HubTarget(source.repo, source.revision, ""), token_of(target, workspace)
    hint = (
        f"nexusctl models show {model}" if isinstance(target, ModelTarget) else "a repository is written hf:owner/name"
    )
    raise UsageError(f"{model} comes from no hub repository", hint=hint)


def _listed(found: Repository, stack: Stack | None, workspace: Workspace) -> list[ListedFile]:
    from nexus_ctl.artifacts.hub.cache import held, hub_cache_folder
    from nexus_ctl.artifacts.source import HubPlace, Part
    from nexus_ctl.cli.model_facts import taken_by
    from nexus_ctl.resources.envelope import Ref
    from nexus_ctl.views.model_use import models_from
    from nexus_ctl.views.repo_files import ListedFile

    takers: dict[str, list[str]] = {}
    for name in models_from(stack, found.repo) if stack is not None else ():
        assert stack is not None
        for file in taken_by(stack.resources[Ref("Model", name)].spec.source.hugging_face, found.files):
            takers.setdefault(file.name, []).append(name)
    place = HubPlace(str(hub_cache_folder(workspace.catalog.means.environ)), found.repo, found.revision, found.commit)
    listed = []
    for file in found.files:
        part = Part(file.name, "", file.size_bytes, file.sha256, file.git_oid)
        here = ["nexusctl"] if file.sha256 is not None and workspace.cache.blob(file.sha256).exists() else []
        here += ["huggingface"] if held(place, part) is not None else []
        listed.append(ListedFile(file, tuple(here), tuple(takers.get(file.name, ()))))
    return listed

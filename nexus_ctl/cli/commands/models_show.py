"""`nexusctl models show`: everything about one model on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nexus_ctl.cli.engine_options import engine_options
from nexus_ctl.cli.invocation import Invocation, Workspace
from nexus_ctl.cli.options import output_option, refresh_option, stack_options

if TYPE_CHECKING:
    from nexus_ctl.cli.model_target import Target
    from nexus_ctl.resources.declared import Stack
    from nexus_ctl.views.model_sheet import Sheet


@click.command("show")
@click.argument("model", metavar="NAME|hf:OWNER/NAME|FILE")
@click.option("--card", is_flag=True, help="Print the text of the card instead.")
@click.option("--template", is_flag=True, help="Print the chat template instead.")
@engine_options
@refresh_option
@stack_options
@output_option("text", "json", "yaml")
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    *,
    model: str,
    card: bool,
    template: bool,
    refresh: bool,
    files: tuple[str, ...],
    environment: str | None,
    output: str,
    **settings: Any,
) -> None:
    """Show a model: card, quantizations on offer and what of them fits this machine, use, ratings.

    Nothing is downloaded but the card and, once, the header of one file. What is known is remembered, and shown with
    its age when the hub cannot be asked. Memory is weighed for the settings of the first Deployment that serves the
    model, or for those given here.
    """
    from nexus_ctl.cli.inputs import empty_stack, stack_if_any
    from nexus_ctl.cli.model_target import target_of
    from nexus_ctl.cli.printing import print_value
    from nexus_ctl.errors import UsageError
    from nexus_ctl.views import model_sheet as view

    if card + template + (output != "text") > 1:
        raise UsageError("--card, --template and -o exclude each other", hint="-o json holds the template")
    stack = stack_if_any(files, environment)
    target = target_of(model, stack)
    with invocation.workspace(stack or empty_stack(), invocation.command) as workspace:
        if card:
            click.echo(_card_text(target, workspace, refresh))
            return
        sheet = _sheet(invocation, target, stack, workspace, refresh=refresh, given=settings)
        now = workspace.clock.now()
    if template:
        click.echo(sheet.facts.card.chat_template)
    elif output == "text":
        click.echo(view.text(sheet, now), nl=False)
    else:
        print_value(view.to_json(sheet), output)


def _card_text(target: Target, workspace: Workspace, refresh: bool) -> str:
    """The card as its author wrote it, as plain text. Raises UsageError for a model without one."""
    from nexus_ctl.cli.model_facts import token_of
    from nexus_ctl.cli.model_target import HubTarget, ModelTarget
    from nexus_ctl.errors import UsageError

    token = None
    if isinstance(target, ModelTarget):
        source = target.resource.spec.source.hugging_face
        place = (source.repo, source.revision) if source is not None else None
        token = token_of(target, workspace)
    else:
        place = (target.repo, target.revision) if isinstance(target, HubTarget) else None
    if place is None:
        raise UsageError(f"{target.subject} comes from no hub repository, so it has no card")
    found = workspace.catalog.repository(*place, token=token, refresh=refresh)
    return workspace.catalog.card_text(found, token=token)


def _sheet(
    invocation: Invocation,
    target: Target,
    stack: Stack | None,
    workspace: Workspace,
    *,
    refresh: bool,
    given: dict[str, Any],
) -> Sheet:
    from nexus_ctl.cli.engine_options import USUAL_CONTEXT, settings_for
    from nexus_ctl.cli.model_facts import facts_of
    from nexus_ctl.cli.model_target import FileTarget
    from nexus_ctl.cli.model_weighing import weighed
    from nexus_ctl.cli.ratings import ratings_of
    from nexus_ctl.views import choice, model_use
    from nexus_ctl.views.model_sheet import Sheet

    facts = facts_of(target, workspace, refresh=refresh)
    subjects = model_use.subjects_of(stack, target.subject) if stack is not None else frozenset({target.subject})
    deployments = model_use.deployments_of(stack, subjects) if stack is not None else {}
    settings, words = settings_for(given, deployments, facts.header, USUAL_CONTEXT)
    host, gpus = invocation.machine()
    usage = model_use.usage_of(deployments, workspace.routing.counted() if deployments else None)
    no_usage = "the gateway does not answer" if deployments else "no declared Deployment serves it"
    served = stack is not None and not isinstance(target, FileTarget)
    ratings = ratings_of(workspace) if stack is not None else ()
    return Sheet(
        facts=facts,
        choice=weighed(facts, settings, (host, gpus)),
        weighed_for=f"{words}; {choice.machine_text(host, gpus.devices, gpus.reason)}",
        place_names=choice.names_of(gpus.devices),
        usage=usage,
        usage_note=no_usage if served and usage is None else "",
        ratings=tuple(one for one in ratings if one.subject in subjects),
    )

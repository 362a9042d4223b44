"""`nexusctl models recommend`: the best quantization this machine can serve, and what the next better lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nexus_ctl.cli.engine_options import engine_options
from nexus_ctl.cli.invocation import Invocation, Workspace
from nexus_ctl.cli.options import output_option, refresh_option, stack_options

if TYPE_CHECKING:
    from nexus_ctl.cli.model_target import Target
    from nexus_ctl.resources.declared import Stack
    from nexus_ctl.resources.device import Device, DeviceList
    from nexus_ctl.views.recommended import Answer


@click.command("recommend")
@click.argument("models", nargs=-1, metavar="[NAME|hf:OWNER/NAME|FILE ...]")
@engine_options
@refresh_option
@stack_options
@output_option("text", "json", "yaml", "name")
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    *,
    models: tuple[str, ...],
    refresh: bool,
    files: tuple[str, ...],
    environment: str | None,
    output: str,
    **settings: Any,
) -> None:
    """Say which quantization of a model fits this machine, and why.

    The largest that fits, up to eight bits a weight, wholly on GPUs before partly; then the next better one that does
    not run as well, and what is missing. Bytes are the estimator's, with its margins, held against what is free now.
    Without a name: of every declared Model. Of several models, one that cannot be weighed hides no other:
    `models search … -o name | xargs nexusctl models recommend`.
    """
    from nexus_ctl.cli.inputs import chosen_models, empty_stack, stack_if_any
    from nexus_ctl.cli.model_target import target_of
    from nexus_ctl.cli.printing import print_value
    from nexus_ctl.errors import ActionError, UsageError
    from nexus_ctl.views import recommended as view

    stack = stack_if_any(files, environment)
    if not models and (stack is None or not (models := chosen_models(stack, ()))):
        raise UsageError("no Model is declared here", hint="name one, or find one with:\nnexusctl models search WORDS")
    targets = [target_of(model, stack) for model in models]
    machine = invocation.machine()
    answers = []
    with invocation.workspace(stack or empty_stack(), invocation.command) as workspace:
        for target in targets:
            try:
                answers.append(_answer(target, stack, workspace, machine, refresh=refresh, given=settings))
            except (ActionError, UsageError) as error:
                if len(targets) == 1:
                    raise
                answers.append(view.Answer(target.subject, why=error.detail))
        now = workspace.clock.now()
    if output in ("json", "yaml"):
        print_value(view.to_json(answers, machine), output)
    elif output == "name":
        click.echo(view.names(answers), nl=False)
    else:
        click.echo(view.text(answers, machine, now), nl=False)


def _answer(
    target: Target,
    stack: Stack | None,
    workspace: Workspace,
    machine: tuple[Device, DeviceList],
    *,
    refresh: bool,
    given: dict[str, Any],
) -> Answer:
    """What is recommended of one model. Raises UsageError where it has no header to weigh by; what the hub raises."""
    from nexus_ctl.cli.engine_options import USUAL_CONTEXT, settings_for
    from nexus_ctl.cli.model_facts import facts_of
    from nexus_ctl.cli.model_weighing import weighed
    from nexus_ctl.errors import UsageError
    from nexus_ctl.views.choice import best_files
    from nexus_ctl.views.model_use import deployments_of
    from nexus_ctl.views.recommended import Answer

    facts = facts_of(target, workspace, refresh=refresh)
    deployments = deployments_of(stack, {target.subject}) if stack is not None else {}
    wanted, words = settings_for(given, deployments, facts.header, USUAL_CONTEXT)
    found = weighed(facts, wanted, machine)
    if found is None:
        hint = f"nexusctl models files {facts.name}"
        raise UsageError(f"{facts.name}: {facts.no_header}", hint=hint, code="no-header")
    return Answer(facts.name, found, words, facts.fresh, best_files(found, facts.quantizations))

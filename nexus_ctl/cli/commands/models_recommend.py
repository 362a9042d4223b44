"""`nexusctl models recommend`: the best quantization this machine can serve, and what the next better lacks."""

from __future__ import annotations

from typing import Any

import click

from nexus_ctl.cli.engine_options import engine_options
from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, refresh_option, stack_options


@click.command("recommend")
@click.argument("models", nargs=-1, required=True, metavar="NAME|hf:OWNER/NAME|FILE ...")
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
    """
    from nexus_ctl.cli.engine_options import USUAL_CONTEXT, settings_for
    from nexus_ctl.cli.inputs import empty_stack, stack_if_any
    from nexus_ctl.cli.model_facts import facts_of
    from nexus_ctl.cli.model_target import target_of
    from nexus_ctl.cli.model_weighing import weighed
    from nexus_ctl.cli.printing import print_value
    from nexus_ctl.errors import UsageError
    from nexus_ctl.views import choice, freshness, model_use

    stack = stack_if_any(files, environment)
    targets = [target_of(model, stack) for model in models]
    host, gpus = invocation.machine()
    values, texts, names = [], [], []
    with invocation.workspace(stack or empty_stack(), invocation.command) as workspace:
        for target in targets:
            facts = facts_of(target, workspace, refresh=refresh)
            deployments = model_use.deployments_of(stack, {target.subject}) if stack is not None else {}
            wanted, words = settings_for(settings, deployments, facts.header, USUAL_CONTEXT)
            found = weighed(facts, wanted, (host, gpus))
            if found is None:
                raise UsageError(
                    f"{facts.name}: {facts.no_header}", hint=f"nexusctl models files {facts.name}", code="no-header"
                )
            known = freshness.as_of(facts.fresh, workspace.clock.now()) if facts.fresh is not None else "from the file"
            shown = choice.text(found, choice.names_of(gpus.devices))
            texts.append(f"{facts.name}, {known}, weighed for {words}\n\n{shown}")
            names += [f"{file.name}\n" for file in choice.best_files(found, facts.quantizations)]
            values.append({"name": facts.name, "for": words, **choice.to_json(found)})
    if output in ("json", "yaml"):
        machine = choice.machine_json(host, gpus.devices, gpus.reason)
        print_value({"machine": machine, "models": values}, output)
    elif output == "name":
        click.echo("".join(names), nl=False)
    else:
        click.echo("\n".join(texts), nl=False)
        click.echo(f"\n{choice.machine_text(host, gpus.devices, gpus.reason)}")

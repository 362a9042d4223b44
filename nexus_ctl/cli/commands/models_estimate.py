"""`nexusctl models estimate`: what a model would take with some settings, from the header of its file alone."""

from __future__ import annotations

from typing import Any

import click

from nexus_ctl.cli.engine_options import engine_options
from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, refresh_option, stack_options


@click.command("estimate")
@click.argument("model", metavar="NAME|hf:OWNER/NAME/FILE|FILE")
@engine_options
@refresh_option
@stack_options
@output_option("table", "json", "yaml")
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    *,
    model: str,
    refresh: bool,
    files: tuple[str, ...],
    environment: str | None,
    output: str,
    **settings: Any,
) -> None:
    """Tell the memory a model takes on this machine, without loading it.

    Of a model that is not here only the header is read, by a few range requests; of a repository the file, pattern or
    quantization that is named (`hf:owner/name/Q4_K_M`), else the smallest. Each part says how it is known: exact to
    the byte, by a formula with a margin, or assumed. With GPUs it is told as it would be placed on them.
    """
    from nexus_ctl.cli.engine_options import settings_for
    from nexus_ctl.cli.inputs import empty_stack, stack_if_any
    from nexus_ctl.cli.model_facts import facts_of
    from nexus_ctl.cli.model_target import target_of
    from nexus_ctl.cli.model_weighing import weighed_alone
    from nexus_ctl.cli.printing import print_value
    from nexus_ctl.errors import UsageError
    from nexus_ctl.views import choice, model_sheet
    from nexus_ctl.views import memory as view

    stack = None if model.endswith(".gguf") else stack_if_any(files, environment)
    target = target_of(model, stack)
    with invocation.workspace(stack or empty_stack(), invocation.command) as workspace:
        facts = facts_of(target, workspace, refresh=refresh)
    if facts.header is None:
        detail = f"{facts.name} has no GGUF header that can be read before it is here: {facts.no_header}"
        raise UsageError(detail, hint="nexusctl apply", code="no-header")
    host, gpus = invocation.machine()
    wanted, _ = settings_for(settings, {}, facts.header, None)
    found = weighed_alone(facts, wanted, (host, gpus))
    if output in ("json", "yaml"):
        about = {"model": facts.name, "fit": choice.fit_json(found), "read": model_sheet.read_json(facts)}
        print_value({**found.estimate.to_json(), **about}, output)
        return
    click.echo(view.text(found.estimate), nl=False)
    names = choice.names_of(gpus.devices)
    click.echo(f"{found.label} on this machine: {choice.WORDS[found.fit]}: {choice.why(found, names)}")
    if facts.requests:
        click.echo(f"read {facts.bytes_read} bytes of the file, {facts.requests} requests in all", err=True)

"""`nexusctl models estimate`: what a model would take with some settings, from the headers of its files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nexus_ctl.cli.engine_options import engine_options
from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, refresh_option, stack_options
from nexus_ctl.cli.vllm_options import vllm_options

if TYPE_CHECKING:
    from nexus_ctl.resources.catalog import ModelFacts
    from nexus_ctl.resources.checkpoint import Checkpoint


@click.command("estimate")
@click.argument("model", metavar="NAME|hf:OWNER/NAME[/FILE]|FILE|FOLDER")
@engine_options
@vllm_options
@refresh_option
@stack_options
@output_option("table", "json", "yaml")
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    *,
    model: str,
    engine: str | None,
    refresh: bool,
    files: tuple[str, ...],
    environment: str | None,
    output: str,
    **settings: Any,
) -> None:
    """Tell the memory a model takes on this machine, without loading it.

    Of a model that is not here only the headers are read, by a few range requests; of a repository the GGUF file,
    pattern or quantization that is named (`hf:owner/name/Q4_K_M`), else the smallest; where it has none, its
    safetensors as vLLM would load them. Each part says how it is known: exact to the byte, by a formula with a margin,
    or assumed. With GPUs it is told as it would be placed on them.
    """
    from nexus_ctl.cli.inputs import empty_stack, stack_if_any
    from nexus_ctl.cli.model_checkpoint import checkpoint_of, is_repository
    from nexus_ctl.cli.model_facts import facts_of
    from nexus_ctl.cli.model_target import FileTarget, target_of
    from nexus_ctl.cli.vllm_options import parted, refuse_others
    from nexus_ctl.errors import UsageError

    stack = None if model.endswith(".gguf") else stack_if_any(files, environment)
    target = target_of(model, stack)
    of_llama, of_vllm = parted(settings)
    facts: ModelFacts | None = None
    with invocation.workspace(stack or empty_stack(), invocation.command) as workspace:
        is_folder = isinstance(target, FileTarget) and target.path.is_dir()
        if engine != "vllm" and not is_folder:
            facts = facts_of(target, workspace, refresh=refresh)
        serves = facts is None or (engine is None and facts.header is None and is_repository(target, facts))
        checkpoint = checkpoint_of(target, workspace, refresh=refresh) if serves else None
    if checkpoint is not None:
        refuse_others(of_llama, "vLLM")
        _tell_vllm(invocation, target.subject, checkpoint, of_vllm, output)
        return
    assert facts is not None
    refuse_others(of_vllm, "llama.cpp")
    if facts.header is None:
        detail = f"{facts.name} has no GGUF header that can be read before it is here: {facts.no_header}"
        raise UsageError(detail, hint="nexusctl apply", code="no-header")
    _tell_llama(invocation, facts, of_llama, output)


def _tell_llama(invocation: Invocation, facts: ModelFacts, given: dict[str, Any], output: str) -> None:
    from nexus_ctl.cli.engine_options import settings_for
    from nexus_ctl.cli.model_weighing import weighed_alone
    from nexus_ctl.cli.printing import print_value
    from nexus_ctl.views import choice, model_sheet
    from nexus_ctl.views import memory as view

    host, gpus = invocation.machine()
    wanted, _ = settings_for(given, {}, facts.header, None)
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


def _tell_vllm(invocation: Invocation, name: str, checkpoint: Checkpoint, given: dict[str, Any], output: str) -> None:
    from nexus_ctl.cli.printing import print_value
    from nexus_ctl.cli.vllm_options import engine_of
    from nexus_ctl.errors import UsageError
    from nexus_ctl.placement.vllm.choice import weigh_vllm
    from nexus_ctl.views import memory as view
    from nexus_ctl.views import vllm as words

    _, gpus = invocation.machine()
    try:
        found = weigh_vllm(checkpoint, engine_of(given), gpus.devices)
    except ValueError as error:
        raise UsageError(f"{name}: {error}", code="no-estimate") from error
    if output in ("json", "yaml"):
        print_value(words.to_json(name, checkpoint, found), output)
        return
    click.echo(view.text(found.estimate), nl=False)
    click.echo(words.text(found, gpus), nl=False)
    if checkpoint.requests:
        click.echo(f"read {checkpoint.bytes_read} bytes of the files in {checkpoint.requests} requests", err=True)

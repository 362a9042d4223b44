"""`nexusctl models estimate`: what a model would take with some settings, from the header of its file alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, stack_options

if TYPE_CHECKING:
    from nexus_ctl.resources.weights import GgufHeader

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


@click.command("estimate")
@click.argument("model", metavar="MODEL|FILE")
@click.option("--ctx", "context_size", type=click.IntRange(0), default=0, help="Tokens of context; 0: the model's own.")
@click.option("--parallel", type=click.IntRange(1), help="Slots. [default: llama-server's auto]")
@click.option("--kv-unified/--no-kv-unified", default=None, help="One KV pool for all slots.")
@click.option("--batch", "batch_size", type=click.IntRange(1), default=2048, show_default=True)
@click.option("--ubatch", "ubatch_size", type=click.IntRange(1), default=512, show_default=True)
@click.option("--cache-type-k", type=click.Choice(CACHE_TYPES), default="f16", show_default=True)
@click.option("--cache-type-v", type=click.Choice(CACHE_TYPES), default="f16", show_default=True)
@click.option("--flash-attn", "flash_attention", type=click.Choice(("on", "off", "auto")), default="auto")
@stack_options
@output_option("table", "json")
@click.pass_obj
def command(
    invocation: Invocation, /, model: str, files: tuple[str, ...], environment: str | None, output: str, **settings: Any
) -> None:
    """Tell the memory a model takes on this host, without loading it.

    MODEL is the name of a declared Model, or the path of a GGUF file. Of a model that is not here yet only the header
    is read, by a few range requests. Each part says how it is known: exact to the byte, by a formula with a margin,
    or assumed.
    """
    from nexus_ctl.errors import UsageError
    from nexus_ctl.placement.estimate import estimate
    from nexus_ctl.resources.memory import EngineSettings
    from nexus_ctl.views import memory as view

    header = _of_file(Path(model)) if model.endswith(".gguf") else _of_model(invocation, model, files, environment)
    try:
        found = estimate(header, EngineSettings(**settings))
    except ValueError as error:
        raise UsageError(str(error), code="no-estimate") from error
    if output == "json":
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        click.echo(view.text(found), nl=False)


def _of_file(path: Path) -> GgufHeader:
    from nexus_ctl.artifacts.gguf_header import read_file
    from nexus_ctl.artifacts.header_window import BadHeader
    from nexus_ctl.errors import UsageError

    try:
        return read_file(path).header
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", code="no-header") from error
    except BadHeader as error:
        raise UsageError(f"{path}: {error.detail}", code="no-header") from error


def _of_model(invocation: Invocation, name: str, files: tuple[str, ...], environment: str | None) -> GgufHeader:
    from controllers.model import request_of
    from nexus_ctl.cli.inputs import load_stack
    from nexus_ctl.errors import UsageError
    from nexus_ctl.resources.envelope import Ref

    stack = load_stack(files, environment)
    resource = stack.resources.get(Ref("Model", name))
    if resource is None:
        known = ", ".join(sorted(ref.name for ref in stack.resources if ref.kind == "Model")) or "none"
        raise UsageError(f"no Model named {name!r} is declared (there are: {known})", code="unknown-object")
    with invocation.workspace(stack, invocation.command) as workspace:
        world = workspace.session.world
        token = resource.spec.source.token
        header = world.artifacts.header(
            request_of(resource.spec), world.secret(token.value_from) if token is not None else None
        )
    if header is None:
        detail = f"Model/{name} has no GGUF header that can be read before it is here"
        raise UsageError(detail, hint="nexusctl apply", code="no-header")
    return header

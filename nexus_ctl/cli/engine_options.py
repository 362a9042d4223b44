"""Options that say how llama-server would run a model, and the settings they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from nexus_ctl.cli.options import CommandT

if TYPE_CHECKING:
    from nexus_ctl.resources.deployment import DeploymentSpec
    from nexus_ctl.resources.memory import EngineSettings
    from nexus_ctl.resources.weights import GgufHeader

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
USUAL_CONTEXT = 8192
"""Tokens that a model is weighed for when nobody says; a model's own context may be a hundred times what is needed."""


def engine_options(command: CommandT) -> CommandT:
    """`--ctx`, `--parallel`, ... None where not given: then a declared deployment decides, or a default."""
    for option in reversed(
        (
            click.option(
                "--ctx", "context_size", type=click.IntRange(0), help="Tokens of context; 0: the model's own."
            ),
            click.option("--parallel", type=click.IntRange(1), help="Slots. [default: llama-server's auto]"),
            click.option("--kv-unified/--no-kv-unified", default=None, help="One KV pool for all slots."),
            click.option("--batch", "batch_size", type=click.IntRange(1), help="Logical batch. [default: 2048]"),
            click.option("--ubatch", "ubatch_size", type=click.IntRange(1), help="Physical batch. [default: 512]"),
            click.option("--cache-type-k", type=click.Choice(CACHE_TYPES), help="Of the K cache. [default: f16]"),
            click.option("--cache-type-v", type=click.Choice(CACHE_TYPES), help="Of the V cache. [default: f16]"),
            click.option(
                "--flash-attn",
                "flash_attention",
                type=click.Choice(("on", "off", "auto")),
                help="Flash attention. [default: auto]",
            ),
        )
    ):
        command = option(command)
    return command


def settings_for(
    given: Mapping[str, Any], deployments: Mapping[str, DeploymentSpec], header: GgufHeader | None, context: int | None
) -> tuple[EngineSettings, str]:
    """(settings, what they are in words): as given, else as the first llama.cpp deployment declares, else defaults.

    `context` is the default context; None = as llama-server has it. Raises UsageError.
    """
    from dataclasses import replace

    from nexus_ctl.errors import UsageError
    from nexus_ctl.placement.llama_cpp.declared import settings_of
    from nexus_ctl.resources.memory import EngineSettings

    given = {name: value for name, value in given.items() if value is not None}
    declared = [
        (name, spec.engine.llama_cpp) for name, spec in deployments.items() if spec.engine.llama_cpp is not None
    ]
    if declared:
        name, engine = declared[0]
        try:
            settings, words = settings_of(engine), f"the settings of Deployment/{name}"
        except ValueError as error:
            raise UsageError(f"Deployment/{name}: {error}", code="no-estimate") from error
    else:
        own = header.field("context_length") if header is not None else None
        wanted = min(context, own) if context is not None and isinstance(own, int) else context
        settings, words = EngineSettings(context_size=wanted or 0), "--ctx changes it"
    settings = replace(settings, **given)
    if declared and not given:
        return settings, words
    size = f"a context of {settings.context_size} tokens" if settings.context_size else "the model's own context"
    return settings, size if "context_size" in given else f"{size}, {words}"

"""Options that say how vLLM would serve a repository, and the engine that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from nexus_ctl.cli.options import CommandT

if TYPE_CHECKING:
    from nexus_ctl.resources.vllm import Vllm

FIELDS: Mapping[str, tuple[str, str]] = {
    "context_size": ("model", "max_length"),
    "tensor": ("parallel", "tensor"),
    "utilization": ("cache", "memory_utilization"),
    "kv_cache_dtype": ("cache", "dtype"),
    "max_sequences": ("scheduler", "max_sequences"),
    "max_batched_tokens": ("scheduler", "max_batched_tokens"),
}
"""Option → the field of `engine.vllm` that it stands for. `--ctx` is llama.cpp's too."""


def vllm_options(command: CommandT) -> CommandT:
    """`--engine`, and how vLLM is told to run."""
    for option in reversed(
        (
            click.option(
                "--engine",
                type=click.Choice(("llamaCpp", "vllm")),
                help="Which engine's memory. [default: llamaCpp of a GGUF, vllm of safetensors]",
            ),
            click.option(
                "--tensor", type=click.IntRange(1), help="vLLM: GPUs that share each layer. [default: fewest]"
            ),
            click.option(
                "--utilization",
                type=click.FloatRange(0, 1, min_open=True),
                help="vLLM: share of each GPU. [default: the least that serves one sequence]",
            ),
            click.option(
                "--kv-cache-dtype", type=click.Choice(("auto", "bfloat16", "fp8")), help="vLLM: type of the KV cache."
            ),
            click.option("--max-sequences", type=click.IntRange(1), help="vLLM: requests at the same time."),
            click.option("--max-batched-tokens", type=click.IntRange(1), help="vLLM: tokens computed at once."),
        )
    ):
        command = option(command)
    return command


def parted(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(options of llama.cpp, options of vLLM) that were given; `context_size` is in both."""
    known = {name: value for name, value in given.items() if value is not None}
    return {n: v for n, v in known.items() if n not in FIELDS or n == "context_size"}, {
        n: v for n, v in known.items() if n in FIELDS
    }


def refuse_others(given: Mapping[str, Any], engine: str) -> None:
    """Raises UsageError for options that only mean something to the other engine."""
    from nexus_ctl.errors import UsageError

    if others := sorted(name for name in given if name != "context_size"):
        params = click.get_current_context().command.params
        flags = ", ".join(sorted(one.opts[0] for one in params if one.name in others))
        raise UsageError(f"{flags}: this is an estimate of {engine}, to which that means nothing")


def engine_of(given: Mapping[str, Any]) -> Vllm:
    """The engine with these options."""
    from nexus_ctl.resources.vllm import Vllm

    fields: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        group, field = FIELDS[name]
        if value:  # --ctx 0 is the model's own
            fields.setdefault(group, {})[field] = value
    return Vllm.model_validate(fields, by_name=True)

"""vLLM's parameters as a Deployment declares them, in the groups of `vllm serve --help`.

Each field names the flag it becomes (`Flag`), as llama.cpp's do. Whatever is not here goes through `args`, unchecked
but for clashes: vLLM's flags change with each release, and its image says which release runs.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nexus_ctl.resources.field import REPLACE, Spec, as_map
from nexus_ctl.resources.llama_cpp import Flag


class VllmModel(Spec):
    """How the model is loaded."""

    max_length: Annotated[int | None, Flag("--max-model-len"), Field(ge=1)] = None
    """Tokens of context per request; the model's own when left out."""
    dtype: Annotated[Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None, Flag("--dtype")] = None
    """Type of weights and activations."""
    quantization: Annotated[str | None, Flag("--quantization")] = None
    """Method by which the weights are quantized, where the model's own configuration does not say."""
    trust_remote_code: Annotated[bool, Flag("--trust-remote-code")] = False
    """Run Python code that comes with the model."""


class VllmCache(Spec):
    """GPU memory and KV cache."""

    memory_utilization: Annotated[float | None, Flag("--gpu-memory-utilization"), Field(gt=0, le=1)] = None
    """Share of each GPU's memory that vLLM takes for itself; its default is 0.9."""
    dtype: Annotated[Literal["auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"] | None, Flag("--kv-cache-dtype")] = None
    """Element type of the KV cache."""
    prefix_caching: Annotated[bool | None, Flag("--enable-prefix-caching", off="--no-enable-prefix-caching")] = None
    """Reuse the cache of common beginnings."""


class VllmParallel(Spec):
    """Several GPUs."""

    tensor: Annotated[int | None, Flag("--tensor-parallel-size"), Field(ge=1)] = None
    """GPUs that share each layer."""
    pipeline: Annotated[int | None, Flag("--pipeline-parallel-size"), Field(ge=1)] = None
    """Groups of GPUs that share the layers."""


class VllmScheduler(Spec):
    """Batching."""

    max_sequences: Annotated[int | None, Flag("--max-num-seqs"), Field(ge=1)] = None
    """Requests worked on at the same time."""
    max_batched_tokens: Annotated[int | None, Flag("--max-num-batched-tokens"), Field(ge=1)] = None
    """Tokens computed at once at most."""
    enforce_eager: Annotated[bool, Flag("--enforce-eager")] = False
    """Do not compile; starts faster, runs slower."""


class VllmServer(Spec):
    """The HTTP side."""

    chat_template: Annotated[str | None, Flag("--chat-template")] = None
    """Chat template instead of the model's own, as text or as a path in the image."""
    tool_parser: Annotated[str | None, Flag("--tool-call-parser")] = None
    """Parser of the model's tool calls; also turns automatic tool choice on."""
    reasoning_parser: Annotated[str | None, Flag("--reasoning-parser")] = None
    """Parser of the model's reasoning."""


class Vllm(Spec):
    """vLLM's `vllm serve`. Runs in a container."""

    image: Annotated[str | None, REPLACE, Field(min_length=1)] = None
    """Container image; `vllm/vllm-openai:latest` when left out. Pin a version or a digest for more than a trial."""
    model: Annotated[VllmModel, REPLACE] = VllmModel()
    """How the model is loaded."""
    cache: Annotated[VllmCache, REPLACE] = VllmCache()
    """GPU memory and KV cache."""
    parallel: Annotated[VllmParallel, REPLACE] = VllmParallel()
    """Several GPUs."""
    scheduler: Annotated[VllmScheduler, REPLACE] = VllmScheduler()
    """Batching."""
    server: Annotated[VllmServer, REPLACE] = VllmServer()
    """The HTTP side."""
    args: Annotated[dict[str, str | int | float | bool], as_map(REPLACE)] = {}
    """Any other flag of `vllm serve`, by its long name without dashes; `true` for a bare flag. A flag that a field
    above declares, or that nexusctl sets itself, is refused."""

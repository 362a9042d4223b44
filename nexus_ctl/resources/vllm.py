"""vLLM's parameters as a Deployment declares them, in the groups of `vllm serve --help`.

Each field names the flag it becomes (`Flag`), as llama.cpp's do. Whatever is not here goes through `args`, unchecked
but for clashes: vLLM's flags change with each release, and its image says which release runs.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nexus_ctl.resources.field import REPLACE, REPLACED_BY_CONTENT, Spec, as_map, refers_to
from nexus_ctl.resources.flag import Flag
from nexus_ctl.resources.secret import SecretSource

Origin = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^,\s/]+)$")]


class VllmModel(Spec):
    """How the model is loaded."""

    max_length: Annotated[int | None, Flag("--max-model-len"), Field(ge=1)] = None
    """Tokens of context per request; the model's own when left out."""
    dtype: Annotated[Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None, Flag("--dtype")] = None
    """Type of weights and activations."""
    quantization: Annotated[str | None, Flag("--quantization")] = None
    """Method by which the weights are quantized, where the model's own configuration does not say."""
    runner: Annotated[Literal["auto", "generate", "pooling"] | None, Flag("--runner")] = None
    """Whether the model generates, or makes vectors and scores (`pooling`)."""
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
    cpu_offload_gib: Annotated[float | None, Flag("--cpu-offload-gb"), Field(ge=0)] = None
    """GiB of weights per GPU that stay in main memory; slower."""


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


class VllmDraft(Spec):
    """Speculative decoding: several tokens are guessed, and checked at once."""

    model: Annotated[str | None, refers_to(REPLACED_BY_CONTENT, "Model")] = None
    """Name of the Model that guesses; none for `ngram`, and for a model that carries its own head (`mtp`)."""
    method: Literal["draft_model", "eagle", "eagle3", "medusa", "mtp", "ngram"] = "draft_model"
    """How is guessed."""
    n_max: Annotated[int, Field(ge=1, le=1024)] = 3
    """Tokens guessed at once."""

    @model_validator(mode="after")
    def _model_where_one_guesses(self) -> VllmDraft:
        if (self.model is None) != (self.method in WITHOUT_MODEL):
            needs = "takes no model" if self.method in WITHOUT_MODEL else "needs a model"
            raise ValueError(f"method {self.method} {needs}")
        return self


WITHOUT_MODEL = ("mtp", "ngram")


class VllmAdapter(Spec):
    """A LoRA adapter: a folder as the Hugging Face hub holds it."""

    model: Annotated[str, refers_to(REPLACED_BY_CONTENT, "Model")]
    """Name of the Model that is the adapter."""
    name: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,126}$")] = None
    """What requests call it; the Model's name when left out."""


class VllmAdapters(Spec):
    """LoRA adapters."""

    modules: list[VllmAdapter] = []
    """The adapters, each a model of its own to those who ask."""
    max_active: Annotated[int | None, Flag("--max-loras"), Field(ge=1)] = None
    """Adapters in one batch at most; vLLM's default is 1."""
    max_rank: Annotated[Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] | None, Flag("--max-lora-rank")] = None
    """The largest rank of any of them; vLLM's default is 16."""


class VllmServer(Spec):
    """The HTTP side."""

    chat_template: Annotated[str | None, Flag("--chat-template")] = None
    """Chat template instead of the model's own, as text or as a path in the image."""
    tool_parser: Annotated[str | None, Flag("--tool-call-parser")] = None
    """Parser of the model's tool calls; also turns automatic tool choice on."""
    reasoning_parser: Annotated[str | None, Flag("--reasoning-parser")] = None
    """Parser of the model's reasoning."""
    api_key: Annotated[SecretSource | None, REPLACED_BY_CONTENT] = None
    """Key without which the engine answers no request under `/v1`, by reference; the gateway and nexusctl use it,
    clients never see it. A new value makes a new replica. Other paths vLLM leaves open to whoever reaches its port."""
    cors_origins: list[Origin] = []
    """Web pages whose scripts may read what the engine itself answers; none. vLLM's own default is every page."""


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
    draft: Annotated[VllmDraft | None, REPLACE] = None
    """Speculative decoding."""
    adapters: Annotated[VllmAdapters, REPLACE] = VllmAdapters()
    """LoRA adapters."""
    server: Annotated[VllmServer, REPLACE] = VllmServer()
    """The HTTP side."""
    args: Annotated[dict[str, str | int | float | bool], as_map(REPLACE)] = {}
    """Any other flag of `vllm serve`, by its long name without dashes; `true` for a bare flag. A flag that a field
    above declares, or that nexusctl sets itself, is refused."""

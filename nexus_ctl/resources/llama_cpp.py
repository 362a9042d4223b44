"""llama.cpp's parameters as a Deployment declares them, in the groups of `llama-server --help`.

Each field names the flag it becomes (`Flag`), so that one table renders the command line, explains it and finds
clashes with raw `args`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nexus_ctl.resources.field import REPLACE, REPLACED_BY_CONTENT, Spec, as_map
from nexus_ctl.resources.flag import Flag
from nexus_ctl.resources.llama_cpp_companions import Adapter, CacheType, DeviceName, Draft, Layers, Projector
from nexus_ctl.resources.llama_cpp_sampling import EngineSampling, Reasoning
from nexus_ctl.resources.model_file import FileName
from nexus_ctl.resources.secret import SecretSource

Origin = Annotated[str, Field(pattern=r"^(localhost|\*|[a-z][a-z0-9+.-]*://[^,\s/]+)$")]


class Batching(Spec):
    """Prompt processing and batching."""

    batch_size: Annotated[int | None, Flag("--batch-size"), Field(ge=1)] = None
    """Logical batch: tokens submitted at once at most."""
    ubatch_size: Annotated[int | None, Flag("--ubatch-size"), Field(ge=1)] = None
    """Physical batch: tokens computed at once at most. The compute buffer grows in proportion."""
    continuous: Annotated[bool, Flag("", off="--no-cont-batching")] = True
    """Take new requests into a running batch."""
    cache_prompt: Annotated[bool, Flag("", off="--no-cache-prompt")] = True
    """Keep what a slot has read, and read only what differs in its next request."""
    cache_reuse: Annotated[int | None, Flag("--cache-reuse"), Field(ge=0)] = None
    """Pieces of at least this many tokens are reused where they stand elsewhere than before; 0, the default, never."""
    context_shift: Annotated[bool, Flag("--context-shift")] = False
    """Drop the oldest tokens when the context is full, instead of ending the answer."""
    keep: Annotated[int | None, Flag("--keep"), Field(ge=-1)] = None
    """Tokens of the beginning that a shift leaves in place; -1 the whole prompt."""


class Memory(Spec):
    """KV cache and how the weights are loaded."""

    cache_type_k: Annotated[CacheType | None, Flag("--cache-type-k")] = None
    """Element type of the K cache; the engine's default is f16."""
    cache_type_v: Annotated[CacheType | None, Flag("--cache-type-v")] = None
    """Element type of the V cache; a quantized one needs flash attention."""
    flash_attention: Annotated[Literal["on", "off", "auto"] | None, Flag("--flash-attn")] = None
    """Flash attention."""
    kv_unified: Annotated[bool | None, Flag("--kv-unified", off="--no-kv-unified")] = None
    """One KV pool for all slots instead of an equal part for each."""
    kv_offload: Annotated[bool, Flag("", off="--no-kv-offload")] = True
    """Keep the KV cache on the GPU, with the layers it belongs to."""
    swa_full: Annotated[bool, Flag("--swa-full")] = False
    """Give layers that look through a window a cache of the full context, so that `cacheReuse` works for them too."""
    cache_ram_mib: Annotated[int | None, Flag("--cache-ram"), Field(ge=-1)] = None
    """MiB of main memory for prompts of idle slots; -1 has no limit, 0 keeps none. The engine's default is 8192."""
    load_mode: Annotated[Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "dio"] | None, Flag("--load-mode")] = (
        None
    )
    """How the weights come into memory: `mmap` maps the file, `mlock` keeps them in RAM, `dio` reads past the page
    cache, `none` just reads; the engine's default is `auto`."""


class Gpu(Spec):
    """Offload to GPUs."""

    devices: Annotated[list[DeviceName] | None, Flag("--device"), Field(min_length=1)] = None
    """Devices to use, by llama.cpp's names (`CUDA0`), in order; all that the replica sees when left out."""
    layers: Annotated[Layers | None, Flag("--gpu-layers")] = None
    """Layers on the GPU: a number, `all`, or `auto`."""
    split_mode: Annotated[Literal["none", "layer", "row", "tensor"] | None, Flag("--split-mode")] = None
    """How the model is spread over several GPUs."""
    tensor_split: Annotated[
        list[Annotated[float, Field(ge=0)]] | None, Flag("--tensor-split"), Field(min_length=1, max_length=128)
    ] = None
    """Share of each GPU, in order."""
    main_gpu: Annotated[int | None, Flag("--main-gpu"), Field(ge=0)] = None
    """The GPU for everything that is not split."""


class Loading(Spec):
    """How the weights are loaded, beside `memory.loadMode`."""

    lazy: Annotated[Literal["on", "auto", "off"] | None, Flag("--lazy-mode")] = None
    """Read per-layer embeddings from disk when they are needed."""
    check_tensors: Annotated[bool, Flag("--check-tensors")] = False
    """Look for values that are no numbers; slower to start."""
    repack: Annotated[bool, Flag("", off="--no-repack")] = True
    """Put the CPU's weights in an order that it computes faster with."""
    numa: Annotated[Literal["distribute", "isolate", "numactl"] | None, Flag("--numa")] = None
    """How the weights are spread over the processors of a large machine."""


class Rope(Spec):
    """Positions beyond the model's training length. What is left out is read from the model."""

    scaling: Annotated[Literal["none", "linear", "yarn"] | None, Flag("--rope-scaling")] = None
    """The method."""
    scale: Annotated[float | None, Flag("--rope-scale"), Field(gt=0)] = None
    """By how much the context is stretched: 4 makes 32768 tokens of 8192."""
    freq_base: Annotated[float | None, Flag("--rope-freq-base"), Field(gt=0)] = None
    """RoPE's base frequency."""
    freq_scale: Annotated[float | None, Flag("--rope-freq-scale"), Field(gt=0)] = None
    """RoPE's frequency factor: 1 / `scale`; give one of the two."""
    yarn_original_context: Annotated[int | None, Flag("--yarn-orig-ctx"), Field(ge=1)] = None
    """YaRN: the length the model was trained at."""
    yarn_extrapolation: Annotated[float | None, Flag("--yarn-ext-factor")] = None
    """YaRN: mix of extrapolation; 0 is full interpolation, -1 the model's own."""
    yarn_attention: Annotated[float | None, Flag("--yarn-attn-factor")] = None
    """YaRN: factor of the attention's magnitude."""
    yarn_beta_slow: Annotated[float | None, Flag("--yarn-beta-slow")] = None
    """YaRN: where the slow dimensions begin."""
    yarn_beta_fast: Annotated[float | None, Flag("--yarn-beta-fast")] = None
    """YaRN: where the fast dimensions end."""


class Threads(Spec):
    """CPU threads."""

    generation: Annotated[int | None, Flag("--threads"), Field(ge=1)] = None
    """For generating."""
    batch: Annotated[int | None, Flag("--threads-batch"), Field(ge=1)] = None
    """For processing prompts."""
    http: Annotated[int | None, Flag("--threads-http"), Field(ge=1)] = None
    """For HTTP requests."""


class Server(Spec):
    """The HTTP side."""

    metrics: Annotated[bool, Flag("--metrics")] = True
    """Serve Prometheus metrics on `/metrics`."""
    slots: Annotated[bool, Flag("", off="--no-slots")] = True
    """Serve slot states on `/slots`."""
    timeout: Annotated[int | None, Flag("--timeout"), Field(ge=1)] = None
    """Read and write timeout in seconds."""
    chat_template: Annotated[str | None, Flag("--chat-template")] = None
    """Chat template instead of the model's own: a built-in name or a Jinja text. `${file:chat.jinja}` takes the text
    from a file beside the manifest, so that its content counts."""
    jinja: Annotated[bool, Flag("--jinja", off="--no-jinja")] = True
    """Use the Jinja engine for chat templates; tool calls need it."""
    api_key: Annotated[SecretSource | None, REPLACED_BY_CONTENT] = None
    """Key without which the engine answers nobody, by reference; the gateway and nexusctl use it, clients never see it.
    A new value makes a new replica."""
    web_ui: Annotated[bool, Flag("", off="--no-webui")] = False
    """Serve llama.cpp's own web page on the replica's address; the gateway does not lead there."""
    cors_origins: Annotated[
        list[Origin], Flag("--cors-origins", variable="LLAMA_ARG_CORS_ORIGINS"), Field(min_length=1)
    ] = ["localhost"]
    """Web pages whose scripts may read what the engine itself answers: origins such as `https://chat.example.org`, or
    `localhost` for pages of this machine. llama-server's own default is every page on the web."""


class Embeddings(Spec):
    """Serving vectors instead of, or beside, text."""

    enabled: Annotated[bool, Flag("--embeddings")] = False
    """Serve `/v1/embeddings`."""
    pooling: Annotated[Literal["none", "mean", "cls", "last", "rank"] | None, Flag("--pooling")] = None
    """How token vectors become one; the model's own way when left out."""


class Reranking(Spec):
    """Serving scores of documents for a query, with a model made for it."""

    enabled: Annotated[bool, Flag("--reranking")] = False
    """Serve `/v1/rerank`."""


class LlamaCpp(Spec):
    """llama.cpp's `llama-server`."""

    file: Annotated[FileName | None, REPLACE] = None
    """Which of the Model's files to serve, where a hub repository gives several: a name, or a pattern that one matches.
    Any part of a split GGUF stands for the whole of it."""
    context_size: Annotated[int | None, REPLACE, Flag("--ctx-size"), Field(ge=0)] = None
    """Tokens of context for all slots together; 0 takes the model's training length. The engine's default when left
    out."""
    parallel: Annotated[int, REPLACE, Flag("--parallel"), Field(ge=1, le=256)] = 1
    """Slots: requests worked on at the same time."""
    batching: Annotated[Batching, REPLACE] = Batching()
    """Prompt processing and batching."""
    memory: Annotated[Memory, REPLACE] = Memory()
    """KV cache and how the weights are loaded."""
    loading: Annotated[Loading, REPLACE] = Loading()
    """How the weights are loaded."""
    gpu: Annotated[Gpu, REPLACE] = Gpu()
    """Offload to GPUs."""
    threads: Annotated[Threads, REPLACE] = Threads()
    """CPU threads."""
    server: Annotated[Server, REPLACE] = Server()
    """The HTTP side."""
    embeddings: Annotated[Embeddings, REPLACE] = Embeddings()
    """Serving vectors."""
    reranking: Annotated[Reranking, REPLACE] = Reranking()
    """Serving scores."""
    sampling: Annotated[EngineSampling, REPLACE] = EngineSampling()
    """Sampling of requests that do not set their own."""
    reasoning: Annotated[Reasoning, REPLACE] = Reasoning()
    """Models that think before they answer."""
    rope: Annotated[Rope, REPLACE] = Rope()
    """Positions beyond the model's training length."""
    draft: Annotated[Draft | None, REPLACE] = None
    """Speculative decoding with a draft model."""
    adapters: Annotated[list[Adapter], REPLACE] = []
    """LoRA adapters, in the order of their numbers."""
    projector: Annotated[Projector | None, REPLACE] = None
    """Images and sound, by a projector of the model."""
    warmup: Annotated[bool, REPLACE, Flag("", off="--no-warmup")] = True
    """Run the model once before it is ready."""
    verbosity: Annotated[int | None, REPLACE, Flag("--verbosity"), Field(ge=0, le=5)] = None
    """Log level; 4 shows buffer sizes."""
    image: Annotated[str | None, REPLACE, Field(min_length=1)] = None
    """Container image, for runtimes that have containers; llama.cpp's own `server` image when left out, `server-cuda`
    where GPUs are asked for. Pin a digest for more than a trial."""
    args: Annotated[dict[str, str | int | float | bool], as_map(REPLACE)] = {}
    """Any other llama-server flag, by its long name without dashes; `true` for a bare flag. A flag that a field above
    declares, or that nexusctl sets itself, is refused."""

"""llama.cpp's parameters as a Deployment declares them, in the groups of `llama-server --help`.

Each field names the flag it becomes (`Flag`), so that one table renders the command line, explains it and finds
clashes with raw `args`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from nexus_ctl.resources.field import REPLACE, Spec, as_map

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]


@dataclass(frozen=True, slots=True)
class Flag:
    """The llama-server flag of a field. `off` is the flag that says False, where a bare absence would not."""

    name: str
    off: str = ""


class Batching(Spec):
    """Prompt processing and batching."""

    batch_size: Annotated[int | None, Flag("--batch-size"), Field(ge=1)] = None
    """Logical batch: tokens submitted at once at most."""
    ubatch_size: Annotated[int | None, Flag("--ubatch-size"), Field(ge=1)] = None
    """Physical batch: tokens computed at once at most. The compute buffer grows in proportion."""
    continuous: Annotated[bool, Flag("", off="--no-cont-batching")] = True
    """Take new requests into a running batch."""


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
    load_mode: Annotated[Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "dio"] | None, Flag("--load-mode")] = (
        None
    )
    """How the weights come into memory: `mmap` maps the file, `mlock` keeps them in RAM, `dio` reads past the page
    cache, `none` just reads; the engine's default is `auto`."""


class Gpu(Spec):
    """Offload to GPUs."""

    layers: Annotated[Literal["auto", "all"] | Annotated[int, Field(ge=0)] | None, Flag("--gpu-layers")] = None
    """Layers on the GPU: a number, `all`, or `auto`."""
    split_mode: Annotated[Literal["none", "layer", "row", "tensor"] | None, Flag("--split-mode")] = None
    """How the model is spread over several GPUs."""
    tensor_split: Annotated[list[Annotated[float, Field(ge=0)]] | None, Flag("--tensor-split")] = None
    """Share of each GPU, in order."""
    main_gpu: Annotated[int | None, Flag("--main-gpu"), Field(ge=0)] = None
    """The GPU for everything that is not split."""


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
    """Chat template instead of the model's own: a built-in name or a Jinja text."""
    jinja: Annotated[bool, Flag("--jinja", off="--no-jinja")] = True
    """Use the Jinja engine for chat templates; tool calls need it."""


class Embeddings(Spec):
    """Serving vectors instead of, or beside, text."""

    enabled: Annotated[bool, Flag("--embeddings")] = False
    """Serve `/v1/embeddings`."""
    pooling: Annotated[Literal["none", "mean", "cls", "last", "rank"] | None, Flag("--pooling")] = None
    """How token vectors become one; the model's own way when left out."""


class LlamaCpp(Spec):
    """llama.cpp's `llama-server`."""

    context_size: Annotated[int | None, REPLACE, Flag("--ctx-size"), Field(ge=0)] = None
    """Tokens of context for all slots together; 0 takes the model's training length. The engine's default when left
    out."""
    parallel: Annotated[int, REPLACE, Flag("--parallel"), Field(ge=1, le=256)] = 1
    """Slots: requests worked on at the same time."""
    batching: Annotated[Batching, REPLACE] = Batching()
    """Prompt processing and batching."""
    memory: Annotated[Memory, REPLACE] = Memory()
    """KV cache and how the weights are loaded."""
    gpu: Annotated[Gpu, REPLACE] = Gpu()
    """Offload to GPUs."""
    threads: Annotated[Threads, REPLACE] = Threads()
    """CPU threads."""
    server: Annotated[Server, REPLACE] = Server()
    """The HTTP side."""
    embeddings: Annotated[Embeddings, REPLACE] = Embeddings()
    """Serving vectors."""
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

"""The numbers of a model that memory depends on, layer by layer, read from its header.

Second step of `estimate`. Architectures differ in which layers attend, over which window, with how many heads; the
tables below say so by architecture, the rest comes from the file. An architecture that stands in no table is read as
plain attention in every layer and marked unknown, which costs it a larger margin.
Source: llama.cpp src/llama-hparams.cpp and src/models/*.cpp (load_arch_hparams).
"""

from __future__ import annotations

from dataclasses import dataclass

from nexus_ctl.resources.weights import GgufHeader

_DENSE = (
    "arcee baichuan codeshell command-r dbrx deepseek exaone falcon gemma glm4 gpt2 gptneox granite granitemoe "
    "internlm2 llama minicpm mistral3 mpt nemotron olmo olmoe orion phi2 phi3 phimoe qwen qwen2 qwen2moe qwen2vl "
    "qwen3 qwen3moe qwen3vl qwen3vlmoe refact smollm3 stablelm starcoder starcoder2 xverse hunyuan-dense hunyuan-moe "
    "ernie4_5 ernie4_5-moe glm4moe bailingmoe dots1 seed_oss"
)
_ENCODERS = "bert nomic-bert nomic-bert-moe jina-bert-v2 jina-bert-v3 modern-bert neo-bert eurobert gemma-embedding"
_WINDOW_PERIOD = (
    {"gemma2": 2, "gemma3n": 5, "gemma3": 6, "gemma4": 6}
    | dict.fromkeys(("afmoe", "cohere2", "exaone4", "exaone-moe", "llama4", "olmo2"), 4)
    | {"gpt-oss": 2}
)
"""Layer l looks through the window when l mod period < period - 1, unless the file carries its own pattern."""
_WINDOW_DEFAULT = {"llama4": 8192, "gemma2": 4096, "cohere2": 4096}
_MIXED = {"jamba", "granitehybrid", "nemotron_h", "nemotron_h_moe", "lfm2", "lfm2moe", "plamo2"}
"""Hybrids that mark a recurrent layer by no KV heads."""
_INTERVAL = {"qwen3next", "qwen35", "qwen35moe"}
"""Hybrids in which every n-th layer attends (`full_attention_interval`)."""
_RECURRENT = {"mamba", "mamba2", "rwkv6", "rwkv7", "rwkv6qwen2", "arwkv7"}
_LATENT = {"deepseek2", "minicpm3", "plm"}
_SHARED_KV_FROM = {"gemma3n": 20}

KNOWN = (
    frozenset(_DENSE.split())
    | frozenset(_ENCODERS.split())
    | set(_WINDOW_PERIOD)
    | _MIXED
    | _INTERVAL
    | (_RECURRENT | _LATENT | {"falcon-h1"})
)
"""Architectures whose cache layout the tables and the file describe completely."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One block. `attends` = it has a KV cache of its own; `recurs` = it keeps a state per sequence."""

    heads: int
    kv_heads: int
    key_size: int
    value_size: int
    feed_forward: int
    windowed: bool
    attends: bool
    recurs: bool


@dataclass(frozen=True, slots=True)
class Latent:
    """Latent attention (MLA): sizes of the expanded heads that the compute buffer holds."""

    key_size: int
    value_size: int
    rope_size: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What `estimate` needs of a model. `conv_state` and `ssm_state` are numbers per recurrent layer and sequence."""

    architecture: str
    known: bool
    layers: tuple[Layer, ...]
    embedding: int
    vocabulary: int
    context: int
    causal: bool
    caches: bool
    gated: bool
    """The feed-forward has a gate beside its way up."""
    window: int
    latent: Latent | None
    experts_used: int
    expert_feed_forward: int
    conv_state: int
    ssm_state: int
    ssm_inner: int
    ssm_rank: int
    ssm_projection: int
    layer_input: int
    """Numbers per token and layer of a per-layer embedding (Gemma 3n and 4); 0 otherwise."""

    @property
    def widest_feed_forward(self) -> int:
        """The largest dense feed-forward width of any layer."""
        return max((layer.feed_forward for layer in self.layers), default=0)


def read_shape(header: GgufHeader) -> ModelShape:
    """The shape of a model. Raises ValueError when the header lacks what every model has."""
    read = _Fields(header)
    arch, count, embedding = header.architecture, read.one("block_count"), read.one("embedding_length")
    count -= read.one("nextn_predict_layers")
    if not arch or not 0 < count <= 4096 or embedding < 1:
        raise ValueError("the header names no architecture, or no layers and width")
    window = read.one("attention.sliding_window", _WINDOW_DEFAULT.get(arch, 0))
    patterned = arch in _WINDOW_PERIOD or header.field("attention.sliding_window_pattern") is not None
    windowed = _windowed(header, read, count) if window and patterned else (False,) * count
    shared = read.one("attention.shared_kv_layers")
    last_own = count - shared if shared else _SHARED_KV_FROM.get(arch, count)
    caches = arch not in _ENCODERS.split()
    latent = _latent(read) if arch in _LATENT and read.one("attention.key_length_mla") else None
    recurs = _recurring(header, read, count)
    both = arch == "falcon-h1"
    owns = tuple(caches and index < last_own and (both or not recurs[index]) for index in range(count))
    layers = tuple(
        _layer(
            read,
            index,
            embedding,
            windowed=windowed[index],
            recurs=recurs[index],
            owns_cache=owns[index],
            latent=latent is not None,
        )
        for index in range(count)
    )
    conv, ssm, projection = _state(read, arch, embedding)
    return ModelShape(
        architecture=arch,
        known=arch in KNOWN,
        layers=layers,
        embedding=embedding,
        vocabulary=header.vocabulary_size,
        context=read.one("context_length"),
        causal=header.field("attention.causal") is not False,
        caches=caches,
        gated=_gated(header, read),
        window=window if any(windowed) else 0,
        latent=latent,
        experts_used=read.one("expert_used_count") if read.one("expert_count") else 0,
        expert_feed_forward=read.one("expert_feed_forward_length", read.one("feed_forward_length")),
        conv_state=conv,
        ssm_state=ssm,
        ssm_inner=read.one("ssm.inner_size"),
        ssm_rank=read.one("ssm.time_step_rank"),
        ssm_projection=projection,
        layer_input=read.one("embedding_length_per_layer_input"),
    )


class _Fields:
    """Counts of a header. A value per layer answers `at`; anything that is no count is refused."""

    def __init__(self, header: GgufHeader) -> None:
        self._header = header

    def one(self, name: str, default: int = 0) -> int:
        """A count; of a list its largest."""
        values = self._values(name)
        return max(values) if values else default

    def at(self, name: str, layer: int, default: int) -> int:
        """The count for one layer; a single value holds for all."""
        values = self._values(name)
        if not values:
            return default
        return values[layer] if 1 < len(values) > layer else values[-1]

    def _values(self, name: str) -> tuple[int, ...]:
        value = self._header.field(name)
        items = value if isinstance(value, tuple) else () if value is None else (value,)
        counts = tuple(item for item in items if isinstance(item, int) and 0 <= item < 1 << 40)
        if len(counts) != len(items):
            raise ValueError(f"{name} is not a count")
        return counts


def _layer(
    read: _Fields, index: int, embedding: int, *, windowed: bool, recurs: bool, owns_cache: bool, latent: bool
) -> Layer:
    heads = read.at("attention.head_count", index, 0)
    kv_heads = read.at("attention.head_count_kv", index, heads)
    size = embedding // heads if heads else 0
    key, value = read.one("attention.key_length", size), read.one("attention.value_length", size)
    if windowed:
        key, value = read.one("attention.key_length_swa", key), read.one("attention.value_length_swa", value)
    return Layer(
        heads=heads,
        kv_heads=1 if latent else kv_heads,
        key_size=key,
        value_size=0 if latent else value,
        feed_forward=read.at("feed_forward_length", index, 0),
        windowed=windowed,
        attends=owns_cache and kv_heads > 0 and key > 0,
        recurs=recurs,
    )


def _windowed(header: GgufHeader, read: _Fields, count: int) -> tuple[bool, ...]:
    pattern = header.field("attention.sliding_window_pattern")
    if isinstance(pattern, tuple) and len(pattern) > 1:
        return tuple(bool(pattern[index]) if index < len(pattern) else False for index in range(count))
    period = read.one("attention.sliding_window_pattern", _WINDOW_PERIOD.get(header.architecture, 1))
    return tuple(index % period < period - 1 if period else True for index in range(count))


def _recurring(header: GgufHeader, read: _Fields, count: int) -> tuple[bool, ...]:
    arch = header.architecture
    if arch in _RECURRENT or arch == "falcon-h1":
        return (True,) * count
    if arch in _MIXED:
        return tuple(
            read.at("attention.head_count_kv", index, 1) == 0
            and (not arch.startswith("nemotron_h") or read.at("feed_forward_length", index, 0) == 0)
            for index in range(count)
        )
    if arch in _INTERVAL:
        interval = read.one("full_attention_interval", 4) or 4
        return tuple((index + 1) % interval != 0 for index in range(count))
    return (False,) * count


def _gated(header: GgufHeader, read: _Fields) -> bool:
    fused = 2 * read.one("feed_forward_length")
    return any(
        ".ffn_gate" in tensor.name or (tensor.name.endswith(".ffn_up.weight") and tensor.dims[-1] == fused)
        for tensor in header.tensors
    )


def _latent(read: _Fields) -> Latent:
    return Latent(
        key_size=read.one("attention.key_length_mla"),
        value_size=read.one("attention.value_length_mla"),
        rope_size=read.one("rope.dimension_count"),
    )


def _state(read: _Fields, arch: str, embedding: int) -> tuple[int, int, int]:
    """Convolution state, recurrent state, and width of the input projection: numbers per sequence and layer."""
    if width := read.one("wkv.head_size"):
        return read.one("token_shift_count", 2) * embedding, embedding * width, 0
    if arch.startswith("lfm2"):
        return embedding * max(read.one("shortconv.l_cache") - 1, 0), 0, 3 * embedding
    inner, state = read.one("ssm.inner_size"), read.one("ssm.state_size")
    mixed = inner + 2 * read.one("ssm.group_count") * state
    projection = inner + mixed + (0 if arch == "mamba" else read.one("ssm.time_step_rank"))
    return max(read.one("ssm.conv_kernel") - 1, 0) * mixed, state * inner, projection

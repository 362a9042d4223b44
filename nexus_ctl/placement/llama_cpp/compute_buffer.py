"""Bytes of the compute buffer: what the graph of the largest batch needs at its widest point.

Fifth step of `estimate`, and the only one that is no exact arithmetic: the engine lays its graph out greedily, and the
formulae below follow the widest of its stages (attention, feed-forward, output). Numbers are per token and in f32
elements. The constants were fitted to the engine's own reports; `docs/memory-accuracy.md` has their errors.
Source: llama.cpp src/llama-context.cpp (sched_reserve), src/llama-graph.cpp, ggml/src/ggml-alloc.c.
"""

from __future__ import annotations

from collections.abc import Sequence

from nexus_ctl.placement.llama_cpp.kv_cache import cells
from nexus_ctl.placement.llama_cpp.server_settings import Resolved
from nexus_ctl.placement.llama_cpp.shape import Latent, Layer, ModelShape
from nexus_ctl.resources.memory import EngineSettings

PIPELINE_COPIES = 4
"""Copies of the graph's inputs with pipeline parallelism (GGML_SCHED_MAX_COPIES)."""
HOST_ROWS, DEVICE_ROWS = 5, 4
"""Rows of `embedding` that stay alive beside the widest stage: on a host alone, on a device."""
PIPELINE_FIRST_ROWS, PIPELINE_ROWS = 16, 7

INPUT_BYTES, SLACK_BYTES = 24, 2048
"""Per token its id, position and cache cells; and alignment."""


def compute_bytes(
    shape: ModelShape,
    resolved: Resolved,
    settings: EngineSettings,
    layers: Sequence[Layer],
    *,
    rows: int = HOST_ROWS,
    has_output: bool = True,
    mask_copies: int = 1,
) -> int:
    """Bytes of one place's compute buffer; 0 where no layer and no output lies.

    `layers` are the blocks in that place; `rows` and `mask_copies` depend on the place (see the constants).
    """
    tokens = resolved.tokens
    mask = mask_elements(shape, resolved, settings) * mask_copies
    stages = [0]
    for layer in set(layers):
        stages.append(_feed_forward(shape, layer) + rows * shape.embedding + mask)
        if layer.attends or not shape.caches:
            stages.append(_attention(shape, layer, resolved, settings, rows) + mask)
        if layer.recurs and shape.ssm_inner:
            stages.append(_recurrent(shape, layer, resolved, rows) + mask)
    peak = max(stages) * tokens
    if has_output and shape.caches:
        outputs = min(tokens, resolved.outputs)
        around = (rows + 1 if rows == HOST_ROWS else rows) * shape.embedding + mask
        peak = max(peak, outputs * shape.vocabulary + around * tokens)
    inputs = INPUT_BYTES * tokens * (2 if shape.window else 1) + SLACK_BYTES
    return 4 * (peak + tokens * len(shape.layers) * shape.layer_input * bool(layers)) + inputs


def mask_elements(shape: ModelShape, resolved: Resolved, settings: EngineSettings) -> int:
    """Inputs of attention per token, in f32 elements, for each kind of cache (plain, windowed) that there is.

    With flash attention an f16 mask over the cells; without, an f32 mask and an 8-byte cell index for each number
    of V, which is then stored transposed.
    """
    if not shape.caches:
        return resolved.tokens // 2 if resolved.flash_attention else resolved.tokens
    attending = [layer for layer in shape.layers if layer.attends]
    widths = {layer.windowed: cells(layer, shape, resolved, settings) for layer in attending}
    if resolved.flash_attention:
        return sum(widths.values()) // 2
    values = max((layer.kv_heads * layer.value_size for layer in attending), default=0)
    return sum(widths.values()) + len(widths) * 2 * values


def _feed_forward(shape: ModelShape, layer: Layer) -> int:
    if not shape.experts_used:
        return (3 if shape.gated else 1) * layer.feed_forward
    inner = shape.experts_used * shape.expert_feed_forward
    spread = shape.experts_used * shape.embedding if shape.embedding > 2 * shape.expert_feed_forward else 0
    return max(3 * layer.feed_forward if shape.latent else 0, 3 * inner + spread)


def _attention(shape: ModelShape, layer: Layer, resolved: Resolved, settings: EngineSettings, rows: int) -> int:
    seen = cells(layer, shape, resolved, settings)
    scores = 0 if resolved.flash_attention else layer.heads * (seen if shape.caches else resolved.tokens)
    if shape.latent:
        copied = 0 if resolved.flash_attention else seen * resolved.streams * (layer.key_size - shape.latent.rope_size)
        return _latent_attention(shape, layer, shape.latent, rows) + scores + -(-copied // (2 * resolved.tokens))
    if not shape.caches:
        return scores + (13 * shape.embedding // 2 if resolved.flash_attention else 7 * shape.embedding)
    width, heads = shape.embedding, layer.heads * layer.key_size
    if resolved.flash_attention:
        narrowed = layer.kv_heads * (
            layer.key_size * (settings.cache_type_k == "f32") + layer.value_size * (settings.cache_type_v == "f32")
        )  # flash attention reads an f16 copy of an f32 cache
        copied = -(-narrowed * seen * resolved.streams // (2 * resolved.tokens))
        return copied + (rows - 2) * width + 3 * heads if copied else 0
    return scores + max((rows - 2) * width + 3 * heads, rows * width + heads)


def _latent_attention(shape: ModelShape, layer: Layer, latent: Latent, rows: int) -> int:
    """Queries, their absorbed form, their rotated part, and both joined; the last two may fit where others lay."""
    queries, joined = latent.key_size, layer.key_size
    absorbed, rotated = joined - latent.rope_size, layer.heads * latent.rope_size
    wide = queries + absorbed + (joined if joined > queries else 0)
    return layer.heads * wide + (rotated if rotated > shape.embedding else 0) + rows * shape.embedding


def _recurrent(shape: ModelShape, layer: Layer, resolved: Resolved, rows: int) -> int:
    """Projection, convolution in and out, scan: the scan, or what follows it, may fit where the convolution lay."""
    slots, tokens = resolved.slots, resolved.tokens
    state, conv = -(-shape.ssm_state * slots // tokens), -(-shape.conv_state * slots // tokens)
    if shape.architecture == "mamba":
        return 5 * shape.ssm_inner + state + conv + rows * shape.embedding
    mixed = shape.ssm_projection - shape.ssm_inner - shape.ssm_rank
    scan = shape.ssm_inner + state
    around = shape.ssm_projection + 2 * mixed + conv + rows * shape.embedding
    if scan + state + shape.ssm_rank > mixed + conv:
        return around + scan + (shape.embedding if layer.attends else 0)
    return around + (shape.ssm_inner if shape.ssm_inner > mixed + conv - scan else 0)

"""Bytes of KV cache and recurrent state, layer by layer: equal to the byte to what the engine allocates.

Fourth step of `estimate`. Pure.
Source: llama.cpp src/llama-kv-cache.cpp, llama-kv-cache-iswa.cpp, llama-memory-recurrent.cpp.
"""

from __future__ import annotations

from nexus_ctl.placement.llama_cpp.server_settings import Resolved, pad
from nexus_ctl.placement.llama_cpp.shape import Layer, ModelShape
from nexus_ctl.resources.memory import EngineSettings
from nexus_ctl.resources.weights import TYPE_BY_NAME

_STATE_BYTES = 4
"""Recurrent state is kept in f32, whatever the cache types say."""


def window_cells(shape: ModelShape, resolved: Resolved, settings: EngineSettings) -> int:
    """Cells per stream of a layer that looks through the sliding window."""
    if settings.swa_full:
        return resolved.context_per_stream
    sequences = resolved.slots if resolved.unified else 1
    return pad(min(resolved.context_per_stream, shape.window * sequences + resolved.ubatch))


def cells(layer: Layer, shape: ModelShape, resolved: Resolved, settings: EngineSettings) -> int:
    """Cells per stream of one layer's cache."""
    if layer.windowed:
        return window_cells(shape, resolved, settings)
    return resolved.context_per_stream


def layer_cache_bytes(layer: Layer, shape: ModelShape, resolved: Resolved, settings: EngineSettings) -> int:
    """Bytes of K and V of one layer, all streams; 0 for a layer without a cache of its own.

    Shape counted: [streams, cells, kv_heads * key_size] in the K type, the same with value_size in the V type.
    Raises ValueError when a row does not divide into the type's blocks.
    """
    if not layer.attends:
        return 0
    key_row = TYPE_BY_NAME[settings.cache_type_k].row_bytes(layer.kv_heads * layer.key_size)
    value_row = TYPE_BY_NAME[settings.cache_type_v].row_bytes(layer.kv_heads * _value_size(layer, shape, resolved))
    return cells(layer, shape, resolved, settings) * resolved.streams * (key_row + value_row)


def layer_state_bytes(layer: Layer, shape: ModelShape, resolved: Resolved) -> int:
    """Bytes of recurrent state of one layer, all slots; independent of the context."""
    if not layer.recurs:
        return 0
    return _STATE_BYTES * (shape.conv_state + shape.ssm_state) * resolved.slots


def _value_size(layer: Layer, shape: ModelShape, resolved: Resolved) -> int:
    """Without flash attention V is stored transposed, every layer as wide as the widest."""
    if resolved.flash_attention or not layer.value_size:
        return layer.value_size
    widest = max(other.kv_heads * other.value_size for other in shape.layers if other.attends)
    return widest // layer.kv_heads

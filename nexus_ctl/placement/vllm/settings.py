"""From a Deployment's vLLM fields to the settings that memory depends on, with vLLM's own defaults for the device.

Called before `fit_vllm`; pure. Raises ValueError for what would make the arithmetic another one: nothing is claimed of
such a start, and the budget alone counts.
Source: vllm/engine/arg_utils.py (`get_batch_defaults`), vllm/config/cache.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from nexus_ctl.resources.vllm import Vllm

GIB = 1 << 30
LARGE_DEVICE_BYTES = 70 * GIB
BATCH_LARGE, BATCH_SMALL = (8192, 1024), (2048, 256)
"""(tokens, sequences) at once when nothing is declared: on GPUs of 70 GiB and more that are no A100, and on others."""
OTHER_ARITHMETIC = frozenset(
    {"kv-cache-memory-bytes", "num-gpu-blocks-override", "hf-overrides", "load-format", "kv-transfer-config",
     "decode-context-parallel-size", "prefill-context-parallel-size", "block-size", "hf-config-path", "device",
     "language-model-only"}
)  # fmt: skip
"""Raw arguments under which memory is counted in another way."""
WHOLE_CACHE = "disable-hybrid-kv-cache-manager"


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """What vLLM is told. `max_model_len` 0 = the model's own."""

    max_model_len: int = 0
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    cache_bytes: int = 2
    """Bytes of one number of the cache: 2, or 1 with an fp8 cache."""
    number_bytes: int = 2
    """Bytes of a weight that is not quantized."""
    quantization: str = ""
    """How vLLM quantizes weights that are not."""
    offload_bytes: int = 0
    """Of each GPU's weights, kept in main memory."""
    graphs: bool = True
    """Whether CUDA graphs are captured."""
    windows: bool = True
    """Whether layers that see a window keep no more than that."""
    pooling: bool = False
    uncounted: tuple[str, ...] = ()
    """What is declared and takes memory of which nothing is known here."""


def settings_of(engine: Vllm, device_name: str = "", device_bytes: int = 0) -> VllmSettings:
    """The settings of a declared engine on such a device. Raises ValueError."""
    if other := sorted(OTHER_ARITHMETIC & engine.args.keys()):
        raise ValueError(f"with {other[0]} memory is counted in another way")
    large = device_bytes >= LARGE_DEVICE_BYTES and "a100" not in device_name.lower()
    tokens, sequences = BATCH_LARGE if large else BATCH_SMALL
    length = engine.model.max_length or 0
    declared = engine.scheduler
    uncounted = ("the draft model",) * (engine.draft is not None) + ("adapters",) * bool(engine.adapters.modules)
    return VllmSettings(
        max_model_len=length,
        max_num_seqs=declared.max_sequences or sequences,
        max_num_batched_tokens=declared.max_batched_tokens or tokens,
        tensor_parallel=engine.parallel.tensor or 1,
        pipeline_parallel=engine.parallel.pipeline or 1,
        cache_bytes=1 if (engine.cache.dtype or "").startswith("fp8") else 4 if _is_wide(engine) else 2,
        number_bytes=4 if _is_wide(engine) else 2,
        quantization=engine.model.quantization or "",
        offload_bytes=int((engine.cache.cpu_offload_gib or 0) * GIB),
        graphs=not declared.enforce_eager,
        windows=engine.args.get(WHOLE_CACHE) is not True,
        pooling=engine.model.runner == "pooling",
        uncounted=uncounted,
    )


def _is_wide(engine: Vllm) -> bool:
    return engine.model.dtype in ("float", "float32")

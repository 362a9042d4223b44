"""The child program of `memory_oracle`: asks llama.cpp what it would allocate, without loading a weight.

Reads requests as JSON lines on stdin, answers one line each on stdout. Runs as a process of its own because an assert
inside the engine ends it. It calls a C++ function that the xllamacpp package happens to export; the layouts of the two
parameter structs are written down here and compared with the defaults that the library itself returns, so that a
build with other layouts is refused and never misread.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

BREAKDOWN = (
    "_Z29common_get_device_memory_dataPKcPK18llama_model_paramsPK20llama_context_paramsRSt6vector"
    "IP19ggml_backend_deviceSaIS9_EERjSD_SD_14ggml_log_level"
)
"""common_get_device_memory_data(path, model params, context params, devices, layers, context, experts, log level)."""
_LOG_ERRORS = 4


class ModelParams(ctypes.Structure):
    """llama_model_params of the supported builds."""

    _fields_ = [
        ("devices", ctypes.c_void_p),
        ("tensor_buft_overrides", ctypes.c_void_p),
        ("n_gpu_layers", ctypes.c_int32),
        ("split_mode", ctypes.c_int32),
        ("load_mode", ctypes.c_int32),
        ("lazy_mode", ctypes.c_int32),
        ("main_gpu", ctypes.c_int32),
        ("tensor_split", ctypes.c_void_p),
        ("progress_callback", ctypes.c_void_p),
        ("progress_callback_user_data", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p),
        ("vocab_only", ctypes.c_bool),
        ("check_tensors", ctypes.c_bool),
        ("use_extra_bufts", ctypes.c_bool),
        ("no_host", ctypes.c_bool),
        ("no_alloc", ctypes.c_bool),
        ("load_mtp", ctypes.c_bool),
        ("beyond", ctypes.c_ubyte * 128),
    ]


class ContextParams(ctypes.Structure):
    """llama_context_params of the supported builds."""

    _fields_ = [
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_ubatch", ctypes.c_uint32),
        ("n_seq_max", ctypes.c_uint32),
        ("n_rs_seq", ctypes.c_uint32),
        ("n_outputs_max", ctypes.c_uint32),
        ("n_outputs_max_per_seq", ctypes.c_uint32),
        ("n_threads", ctypes.c_int32),
        ("n_threads_batch", ctypes.c_int32),
        ("ctx_type", ctypes.c_int32),
        ("rope_scaling_type", ctypes.c_int32),
        ("pooling_type", ctypes.c_int32),
        ("attention_type", ctypes.c_int32),
        ("flash_attn_type", ctypes.c_int32),
        ("rope_and_yarn", ctypes.c_float * 6),
        ("yarn_orig_ctx", ctypes.c_uint32),
        ("defrag_thold", ctypes.c_float),
        ("cb_eval", ctypes.c_void_p),
        ("cb_eval_user_data", ctypes.c_void_p),
        ("type_k", ctypes.c_int32),
        ("type_v", ctypes.c_int32),
        ("moe_cache_size", ctypes.c_size_t),
        ("abort_callback", ctypes.c_void_p),
        ("abort_callback_data", ctypes.c_void_p),
        ("embeddings", ctypes.c_bool),
        ("offload_kqv", ctypes.c_bool),
        ("no_perf", ctypes.c_bool),
        ("op_offload", ctypes.c_bool),
        ("swa_full", ctypes.c_bool),
        ("kv_unified", ctypes.c_bool),
        ("samplers", ctypes.c_void_p),
        ("n_samplers", ctypes.c_size_t),
        ("ctx_other", ctypes.c_void_p),
        ("beyond", ctypes.c_ubyte * 128),
    ]


MODEL_DEFAULTS: dict[str, object] = {
    "devices": None,
    "n_gpu_layers": -1,
    "split_mode": 1,
    "load_mode": -1,
    "main_gpu": 0,
}
MODEL_DEFAULTS |= {"use_extra_bufts": True, "no_alloc": False, "check_tensors": False, "kv_overrides": None}
CONTEXT_DEFAULTS: dict[str, object] = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_outputs_max": 0,
    "type_k": 1,
}
CONTEXT_DEFAULTS |= {"type_v": 1, "flash_attn_type": -1, "offload_kqv": True, "swa_full": True, "kv_unified": False}
CONTEXT_DEFAULTS |= {"n_samplers": 0, "ctx_other": None, "pooling_type": -1, "defrag_thold": -1.0, "embeddings": False}


class _Vector(ctypes.Structure):
    """std::vector: begin, end, end of storage."""

    _fields_ = [("begin", ctypes.c_void_p), ("end", ctypes.c_void_p), ("storage", ctypes.c_void_p)]


_ROW = ("total", "free", "model", "context", "compute")


class _Row(ctypes.Structure):
    """What the engine says of one device, the host last."""

    _fields_ = [(name, ctypes.c_int64) for name in _ROW]


def load() -> ctypes.CDLL:
    """The engine's library, ready. Raises RuntimeError when it lacks a symbol or its structs differ."""
    found = importlib.util.find_spec("xllamacpp")
    if found is None or found.origin is None:
        raise RuntimeError("the xllamacpp package is not installed")
    library = ctypes.CDLL(str(next(Path(found.origin).parent.glob("xllamacpp*.so"))))
    for name, kind in (("llama_model_default_params", ModelParams), ("llama_context_default_params", ContextParams)):
        getattr(library, name).restype = kind
    if not hasattr(library, BREAKDOWN):
        raise RuntimeError("this build does not export its memory breakdown")
    for values, expected in (
        (library.llama_model_default_params(), MODEL_DEFAULTS),
        (library.llama_context_default_params(), CONTEXT_DEFAULTS),
    ):
        drifted = [name for name, value in expected.items() if getattr(values, name) != value]
        if drifted:
            raise RuntimeError(f"this build's parameters differ: {', '.join(drifted)}")
    library.llama_backend_init()
    return library


def breakdown(library: ctypes.CDLL, request: dict[str, Any]) -> list[dict[str, int]]:
    """What the engine would allocate for one request: a row per device, the host last."""
    model, context = library.llama_model_default_params(), library.llama_context_default_params()
    for target, values in ((model, request["model"]), (context, request["context"])):
        for name, value in values.items():
            setattr(target, name, value)
    rows, devices = _Vector(), _Vector()
    counts = [ctypes.c_uint32() for _ in range(3)]
    call = getattr(library, BREAKDOWN)
    call.restype = None
    call.argtypes = [ctypes.c_void_p, ctypes.c_char_p, *[ctypes.c_void_p] * 6, ctypes.c_int]
    call(
        ctypes.addressof(rows),
        os.fsencode(request["path"]),
        ctypes.addressof(model),
        ctypes.addressof(context),
        ctypes.addressof(devices),
        *(ctypes.addressof(count) for count in counts),
        _LOG_ERRORS,
    )
    size = ctypes.sizeof(_Row)
    found = (_Row.from_address(at) for at in range(rows.begin or 0, rows.end or 0, size))
    return [{name: getattr(row, name) for name in _ROW} for row in found]


def main() -> None:
    """Answer requests until stdin ends. Exits at once, past the library's own destructors."""
    try:
        library = load()
    except (RuntimeError, OSError, StopIteration) as error:
        sys.stdout.write(json.dumps({"unavailable": str(error) or "the xllamacpp package has no library"}) + "\n")
        sys.stdout.flush()
        return
    version = library.llama_version
    version.restype = ctypes.c_char_p
    sys.stdout.write(json.dumps({"build": version().decode()}) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps({"rows": breakdown(library, json.loads(line))}) + "\n")
        sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

"""What the stand-in can honour: llama-server's flag → the attribute of xllamacpp's `CommonParams` that it sets.

One row per flag, written after llama.cpp's `common/arg.cpp`, which does the same in C++. A reader turns the word after
the flag into the attribute's value; it gets `x`, the xllamacpp module, so that this table can be read without it: the
plan asks `unsupported_flags()` before anything is installed or started.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nexus_ctl.engines.llama_server.arguments import Argument, arguments

Reader = Callable[[str, Any, Any], Any]
"""(word, the attribute's value so far, xllamacpp) → the attribute's new value. Raises ValueError on a wrong word."""
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Setting:
    """What a flag sets. `attributes` are dotted paths from `CommonParams`; a bare flag sets `value`, a switch that or
    its opposite. `marks` names the sampling setting that counts as the user's own, not to be taken from the model."""

    attributes: tuple[str, ...]
    read: Reader | None = None
    value: bool = True
    marks: str = ""


def _integer(word: str, so_far: Any, x: Any) -> int:
    return int(word)


def _number(word: str, so_far: Any, x: Any) -> float:
    return float(word)


def _text(word: str, so_far: Any, x: Any) -> str:
    return word


def _content(word: str, so_far: Any, x: Any) -> str:
    return Path(word).read_text(encoding="utf-8")


def _folder(word: str, so_far: Any, x: Any) -> str:
    if not Path(word).is_dir():
        raise ValueError(f"not a directory: {word}")
    return word if word.endswith("/") else word + "/"


def _items(word: str) -> list[str]:
    return [item.strip() for item in word.split(",") if item.strip()]


def _more(word: str, so_far: Any, x: Any) -> list[str]:
    return [*so_far, *_items(word)]


def _one_more(word: str, so_far: Any, x: Any) -> list[str]:
    return [*so_far, word]


def _names(word: str, so_far: Any, x: Any) -> set[str]:
    return {*so_far, *_items(word)}


def _hosts(word: str, so_far: Any, x: Any) -> list[str]:
    return _items(word)


def _threads(word: str, so_far: Any, x: Any) -> int:
    return int(word) if int(word) > 0 else os.cpu_count() or 1


def _layers(word: str, so_far: Any, x: Any) -> int:
    return {"auto": -1, "all": -2}.get(word) or int(word)


def _truth(word: str, so_far: Any, x: Any) -> bool:
    return {"on": True, "1": True, "true": True, "off": False, "0": False, "false": False}[word]


def _mib(word: str, so_far: Any, x: Any) -> int:
    return int(word) * MIB


def _mib_per_device(word: str, so_far: Any, x: Any) -> list[int]:
    given = [int(item) * MIB for item in _items(word)]
    return [given[0]] * len(so_far) if len(given) == 1 else [*given, *so_far[len(given) :]]


def _shares(word: str, so_far: Any, x: Any) -> list[float]:
    given = [float(item) for item in _items(word)]
    return [*given, *([0.0] * (len(so_far) - len(given)))]


def _numbers(word: str, so_far: Any, x: Any) -> list[float]:
    return [float(item) for item in _items(word)]


def _inverse(word: str, so_far: Any, x: Any) -> float:
    return 1.0 / float(word)


def _adapters(word: str, so_far: Any, x: Any) -> list[Any]:
    return [*so_far, *(x.CommonAdapterLoraInfo(path, 1.0) for path in _items(word))]


def _scaled_adapters(word: str, so_far: Any, x: Any) -> list[Any]:
    pairs = [item.rpartition(":") for item in _items(word)]
    return [*so_far, *(x.CommonAdapterLoraInfo(path, float(scale)) for path, _, scale in pairs)]


def _keys_of_file(word: str, so_far: Any, x: Any) -> list[str]:
    lines = _content(word, so_far, x).splitlines()
    return [*so_far, *(line for line in lines if line and not line.startswith("#"))]


def _template_values(word: str, so_far: Any, x: Any) -> dict[str, str]:
    return {**so_far, **{key: json.dumps(value) for key, value in json.loads(word).items()}}


def _effort(word: str, so_far: Any, x: Any) -> dict[str, str]:
    kept = {key: value for key, value in so_far.items() if key != "reasoning_effort"}
    return kept if word == "default" else {**kept, "reasoning_effort": json.dumps(word)}


def _thinking(word: str, so_far: Any, x: Any) -> Any:
    """`enable_reasoning` becomes 1, 0 or -1 (auto); the template's values say the same."""
    if isinstance(so_far, int):
        return {"on": 1, "off": 0, "auto": -1}[word]
    kept = {key: value for key, value in so_far.items() if key != "enable_thinking"}
    return kept if word == "auto" else {**kept, "enable_thinking": json.dumps(word == "on")}


def _rank(word: str, so_far: Any, x: Any) -> Any:
    """`embedding` becomes True, `pooling_type` RANK."""
    return True if isinstance(so_far, bool) else x.llama_pooling_type.LLAMA_POOLING_TYPE_RANK


def _grammar(word: str, so_far: Any, x: Any) -> Any:
    return x.CommonGrammar(int(x.common_grammar_type.COMMON_GRAMMAR_TYPE_USER), word)


def _choice(enum: str, prefix: str, **other: str) -> Reader:
    """A member of an xllamacpp enum by llama-server's word; `other` where the word is not the member's name."""

    def read(word: str, so_far: Any, x: Any) -> Any:
        return getattr(x, enum)[prefix + other.get(word, word.upper().replace("-", "_").replace("+", "_"))]

    return read


def _choices(enum: str, prefix: str) -> Reader:
    one = _choice(enum, prefix)
    return lambda word, so_far, x: [one(item, None, x) for item in _items(word)]


def _member(enum: str) -> Reader:
    return lambda word, so_far, x: getattr(x, enum)(int(word))


_CACHE_TYPE = _choice("ggml_type", "GGML_TYPE_")
_FLASH = _choice("llama_flash_attn_type", "LLAMA_FLASH_ATTN_TYPE_", on="ENABLED", off="DISABLED")
_PRIORITY = _member("ggml_sched_priority")


def _set(path: str, read: Reader | None = None, *more: str, value: bool = True, marks: str = "") -> Setting:
    return Setting((path, *more), read, value, marks)


SETTINGS: Mapping[str, Setting] = {
    # model selection and loading
    "--lora": _set("lora_adapters", _adapters),
    "--lora-scaled": _set("lora_adapters", _scaled_adapters),
    "--lora-init-without-apply": _set("lora_init_without_apply"),
    "--model": _set("model.path", _text),
    "--offline": _set("offline"),
    "--mmproj": _set("mmproj.path", _text),
    "--mmproj-offload": _set("mmproj_use_gpu"),
    "--image-min-tokens": _set("image_min_tokens", _integer),
    "--image-max-tokens": _set("image_max_tokens", _integer),
    "--mtmd-batch-max-tokens": _set("mtmd_batch_max_tokens", _integer),
    "--video-fps": _set("video_fps", _number),
    "--video-timestamp-interval": _set("video_timestamp_interval_ms", _integer),
    "--video-ffmpeg-dir": _set("video_ffmpeg_bin_dir", _text),
    # prompt processing
    "--threads": _set("cpuparams.n_threads", _threads),
    "--threads-batch": _set("cpuparams_batch.n_threads", _threads),
    "--cpu-strict": _set("cpuparams.strict_cpu", _truth),
    "--cpu-strict-batch": _set("cpuparams_batch.strict_cpu", _truth),
    "--prio": _set("cpuparams.priority", _PRIORITY),
    "--prio-batch": _set("cpuparams_batch.priority", _PRIORITY),
    "--poll": _set("cpuparams.poll", _integer),
    "--poll-batch": _set("cpuparams_batch.poll", _integer),
    "--ctx-size": _set("n_ctx", _integer),
    "--predict": _set("n_predict", _integer),
    "--batch-size": _set("n_batch", _integer),
    "--ubatch-size": _set("n_ubatch", _integer),
    "--keep": _set("n_keep", _integer),
    "--flash-attn": _set("flash_attn_type", _FLASH),
    "--perf": _set("no_perf", None, "sampling.no_perf", value=False),
    "--escape": _set("escape"),
    "--rope-scaling": _set("rope_scaling_type", _choice("llama_rope_scaling_type", "LLAMA_ROPE_SCALING_TYPE_")),
    "--rope-scale": _set("rope_freq_scale", _inverse),
    "--rope-freq-base": _set("rope_freq_base", _number),
    "--rope-freq-scale": _set("rope_freq_scale", _number),
    "--yarn-orig-ctx": _set("yarn_orig_ctx", _integer),
    "--yarn-ext-factor": _set("yarn_ext_factor", _number),
    "--yarn-attn-factor": _set("yarn_attn_factor", _number),
    "--yarn-beta-slow": _set("yarn_beta_slow", _number),
    "--yarn-beta-fast": _set("yarn_beta_fast", _number),
    "--context-shift": _set("ctx_shift"),
    "--warmup": _set("warmup"),
    "--cont-batching": _set("cont_batching"),
    "--cache-prompt": _set("cache_prompt"),
    "--cache-reuse": _set("n_cache_reuse", _integer),
    # sampling
    "--samplers": _set("sampling.samplers", _text, marks="SAMPLERS"),
    "--seed": _set("sampling.seed", lambda word, so_far, x: int(word) % 2**32),
    "--ignore-eos": _set("sampling.ignore_eos"),
    "--temp": _set("sampling.temp", _number, marks="TEMP"),
    "--top-k": _set("sampling.top_k", _integer, marks="TOP_K"),
    "--top-p": _set("sampling.top_p", _number, marks="TOP_P"),
    "--min-p": _set("sampling.min_p", _number, marks="MIN_P"),
    "--xtc-probability": _set("sampling.xtc_probability", _number, marks="XTC_PROBABILITY"),
    "--xtc-threshold": _set("sampling.xtc_threshold", _number, marks="XTC_THRESHOLD"),
    "--typical": _set("sampling.typ_p", _number),
    "--repeat-last-n": _set("sampling.penalty_last_n", _integer, marks="PENALTY_LAST_N"),
    "--repeat-penalty": _set("sampling.penalty_repeat", _number, marks="PENALTY_REPEAT"),
    "--presence-penalty": _set("sampling.penalty_present", _number),
    "--frequency-penalty": _set("sampling.penalty_freq", _number),
    "--dry-multiplier": _set("sampling.dry_multiplier", _number),
    "--dry-base": _set("sampling.dry_base", _number),
    "--dry-allowed-length": _set("sampling.dry_allowed_length", _integer),
    "--dry-penalty-last-n": _set("sampling.dry_penalty_last_n", _integer),
    "--adaptive-target": _set("sampling.adaptive_target", _number),
    "--adaptive-decay": _set("sampling.adaptive_decay", _number),
    "--dynatemp-range": _set("sampling.dynatemp_range", _number),
    "--dynatemp-exp": _set("sampling.dynatemp_exponent", _number),
    "--mirostat": _set("sampling.mirostat", _integer, marks="MIROSTAT"),
    "--mirostat-lr": _set("sampling.mirostat_eta", _number, marks="MIROSTAT_ETA"),
    "--mirostat-ent": _set("sampling.mirostat_tau", _number, marks="MIROSTAT_TAU"),
    "--grammar": _set("sampling.grammar", _grammar),
    "--grammar-file": _set("sampling.grammar", lambda word, so_far, x: _grammar(_content(word, None, x), None, x)),
    "--backend-sampling": _set("sampling.backend_sampling"),
    # several GPUs
    "--gpu-layers": _set("n_gpu_layers", _layers),
    "--split-mode": _set("split_mode", _choice("llama_split_mode", "LLAMA_SPLIT_MODE_")),
    "--tensor-split": _set("tensor_split", _shares),
    "--main-gpu": _set("main_gpu", _integer),
    # memory
    "--swa-full": _set("swa_full"),
    "--kv-offload": _set("no_kv_offload", value=False),
    "--repack": _set("no_extra_bufts", value=False),
    "--no-host": _set("no_host"),
    "--cache-type-k": _set("cache_type_k", _CACHE_TYPE),
    "--cache-type-v": _set("cache_type_v", _CACHE_TYPE),
    "--load-mode": _set("load_mode", _choice("llama_load_mode", "LLAMA_LOAD_MODE_", dio="DIRECT_IO")),
    "--lazy-mode": _set("lazy_mode", _choice("llama_lazy_mode", "LLAMA_LAZY_MODE_")),
    "--numa": _set("numa", _choice("ggml_numa_strategy", "GGML_NUMA_STRATEGY_")),
    "--override-tensor": _set("tensor_buft_overrides", _text),
    "--moe-cache-mib": _set("moe_cache_size", _mib),
    "--fit": _set("fit_params", _truth),
    "--fit-target": _set("fit_params_target", _mib_per_device),
    "--fit-ctx": _set("fit_params_min_ctx", _integer),
    "--check-tensors": _set("check_tensors"),
    "--op-offload": _set("no_op_offload", value=False),
    "--kv-unified": _set("kv_unified"),
    "--kv-unified-per-slot": _set("kv_unified_per_slot", _integer),
    "--ctx-checkpoints": _set("n_ctx_checkpoints", _integer),
    "--checkpoint-min-step": _set("checkpoint_min_step", _integer),
    "--cache-ram": _set("cache_ram_mib", _integer),
    "--cache-idle-slots": _set("cache_idle_slots"),
    # server
    "--pooling": _set("pooling_type", _choice("llama_pooling_type", "LLAMA_POOLING_TYPE_")),
    "--parallel": _set("n_parallel", _integer),
    "--alias": _set("model_alias", _names),
    "--tags": _set("model_tags", _names),
    "--embd-normalize": _set("embd_normalize", _integer),
    "--host": _set("hostnames", _hosts),
    "--port": _set("port", _integer),
    "--reuse-port": _set("reuse_port"),
    "--path": _set("public_path", _text),
    "--cors-origins": _set("cors_origins", _text),
    "--cors-methods": _set("cors_methods", _text),
    "--cors-headers": _set("cors_headers", _text),
    "--cors-credentials": _set("cors_credentials"),
    "--api-prefix": _set("api_prefix", _text),
    "--embedding": _set("embedding"),
    "--rerank": _set("embedding", _rank, "pooling_type"),
    "--api-key": _set("api_keys", _more),
    "--api-key-file": _set("api_keys", _keys_of_file),
    "--timeout": _set("timeout_read", _integer, "timeout_write"),
    "--sse-ping-interval": _set("sse_ping_interval", _integer),
    "--threads-http": _set("n_threads_http", _integer),
    "--metrics": _set("endpoint_metrics"),
    "--props": _set("endpoint_props"),
    "--slots": _set("endpoint_slots"),
    "--slot-save-path": _set("slot_save_path", _folder),
    "--media-path": _set("media_path", _folder),
    "--slot-prompt-similarity": _set("slot_prompt_similarity", _number),
    "--sleep-idle-seconds": _set("sleep_idle_seconds", _integer),
    # speculative decoding
    "--spec-draft-type-k": _set("speculative.draft.cache_type_k", _CACHE_TYPE),
    "--spec-draft-type-v": _set("speculative.draft.cache_type_v", _CACHE_TYPE),
    "--lookup-cache-static": _set("speculative.ngram_cache.lookup_cache_static", _text),
    "--lookup-cache-dynamic": _set("speculative.ngram_cache.lookup_cache_dynamic", _text),
    "--spec-draft-threads": _set("speculative.draft.cpuparams.n_threads", _threads),
    "--spec-draft-threads-batch": _set("speculative.draft.cpuparams_batch.n_threads", _threads),
    "--spec-draft-cpu-strict": _set("speculative.draft.cpuparams.strict_cpu", _truth),
    "--spec-draft-cpu-strict-batch": _set("speculative.draft.cpuparams_batch.strict_cpu", _truth),
    "--spec-draft-prio": _set("speculative.draft.cpuparams.priority", _PRIORITY),
    "--spec-draft-prio-batch": _set("speculative.draft.cpuparams_batch.priority", _PRIORITY),
    "--spec-draft-poll": _set("speculative.draft.cpuparams.poll", _integer),
    "--spec-draft-poll-batch": _set("speculative.draft.cpuparams_batch.poll", _integer),
    "--spec-draft-override-tensor": _set("speculative.draft.tensor_buft_overrides", _text),
    "--spec-draft-n-max": _set("speculative.draft.n_max", _integer),
    "--spec-draft-n-min": _set("speculative.draft.n_min", _integer),
    "--spec-synth-len": _set("speculative.synth_len", _number),
    "--spec-synth-rates": _set("speculative.synth_rates", _numbers),
    "--spec-draft-p-split": _set("speculative.draft.p_split", _number),
    "--spec-draft-p-min": _set("speculative.draft.p_min", _number),
    "--spec-draft-backend-sampling": _set("speculative.draft.backend_sampling"),
    "--spec-draft-sampling": _set("speculative.draft.probabilistic", lambda word, *_: word == "probabilistic"),
    "--spec-draft-ngl": _set("speculative.draft.n_gpu_layers", _layers),
    "--spec-draft-model": _set("speculative.draft.mparams.path", _text),
    "--spec-type": _set("speculative.types", _choices("common_speculative_type", "COMMON_SPECULATIVE_TYPE_")),
    "--spec-ngram-mod-n-min": _set("speculative.ngram_mod.n_min", _integer),
    "--spec-ngram-mod-n-max": _set("speculative.ngram_mod.n_max", _integer),
    "--spec-ngram-mod-n-match": _set("speculative.ngram_mod.n_match", _integer),
    "--spec-ngram-simple-size-n": _set("speculative.ngram_simple.size_n", _integer),
    "--spec-ngram-simple-size-m": _set("speculative.ngram_simple.size_m", _integer),
    "--spec-ngram-simple-min-hits": _set("speculative.ngram_simple.min_hits", _integer),
    "--spec-ngram-map-k-size-n": _set("speculative.ngram_map_k.size_n", _integer),
    "--spec-ngram-map-k-size-m": _set("speculative.ngram_map_k.size_m", _integer),
    "--spec-ngram-map-k-min-hits": _set("speculative.ngram_map_k.min_hits", _integer),
    "--spec-ngram-map-k4v-size-n": _set("speculative.ngram_map_k4v.size_n", _integer),
    "--spec-ngram-map-k4v-size-m": _set("speculative.ngram_map_k4v.size_m", _integer),
    "--spec-ngram-map-k4v-min-hits": _set("speculative.ngram_map_k4v.min_hits", _integer),
    # chat template and reasoning
    "--reverse-prompt": _set("antiprompt", _one_more),
    "--special": _set("special"),
    "--chat-template-kwargs": _set("default_template_kwargs", _template_values),
    "--jinja": _set("use_jinja"),
    "--reasoning-format": _set("reasoning_format", _choice("common_reasoning_format", "COMMON_REASONING_FORMAT_")),
    "--reasoning": _set("enable_reasoning", _thinking, "default_template_kwargs"),
    "--reasoning-effort": _set("default_template_kwargs", _effort),
    "--reasoning-budget": _set("sampling.reasoning_budget_tokens", _integer),
    "--reasoning-budget-message": _set("sampling.reasoning_budget_message", _text),
    "--chat-template": _set("chat_template", _text),
    "--chat-template-file": _set("chat_template", _content),
    "--skip-chat-parsing": _set("force_pure_content_parser"),
    "--prefill-assistant": _set("prefill_assistant"),
    # logging, web page
    "--verbose": _set("verbosity", lambda *_: 2**31 - 1),
    "--verbosity": _set("verbosity", _integer),
    "--log-prompts-dir": _set("path_prompts_log_dir", _text),
    "--ui": _set("ui"),
    "--ui-config": _set("ui_config_json", _text),
    "--ui-config-file": _set("ui_config_json", _content),
}


def setting_of(argument: Argument) -> Setting | None:
    """What the argument sets; None where this build has no place for it."""
    return SETTINGS.get(argument.name)


@cache
def unsupported_flags() -> frozenset[str]:
    """Every spelling of every llama-server argument that the stand-in refuses."""
    return frozenset(
        spelling
        for argument in arguments()
        if argument.name not in SETTINGS
        for spelling in (*argument.names, *argument.off_names)
    )

"""What the stand-in can honour: llama-server's flag → the attribute of xllamacpp's `CommonParams` that it sets.

One row per flag, written after llama.cpp's `common/arg.cpp`, which does the same in C++. The table can be read without
xllamacpp: the plan asks `unsupported_flags()` before anything is installed or started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from nexus_ctl.engines.llama_server import readers
from nexus_ctl.engines.llama_server.arguments import Argument, arguments
from nexus_ctl.engines.llama_server.readers import Reader


@dataclass(frozen=True, slots=True)
class Setting:
    """What a flag sets. `attributes` are dotted paths from `CommonParams`; a bare flag sets `value`, a switch that or
    its opposite. `marks` names the sampling setting that counts as the user's own, not to be taken from the model."""

    attributes: tuple[str, ...]
    read: Reader | None = None
    value: bool = True
    marks: str = ""


_CACHE_TYPE = readers.choice("ggml_type", "GGML_TYPE_")
_FLASH = readers.choice("llama_flash_attn_type", "LLAMA_FLASH_ATTN_TYPE_", on="ENABLED", off="DISABLED")
_PRIORITY = readers.member("ggml_sched_priority")


def _set(path: str, read: Reader | None = None, *more: str, value: bool = True, marks: str = "") -> Setting:
    return Setting((path, *more), read, value, marks)


SETTINGS: Mapping[str, Setting] = {
    # model selection and loading
    "--lora": _set("lora_adapters", readers.adapters),
    "--lora-scaled": _set("lora_adapters", readers.scaled_adapters),
    "--lora-init-without-apply": _set("lora_init_without_apply"),
    "--model": _set("model.path", readers.text),
    "--offline": _set("offline"),
    "--mmproj": _set("mmproj.path", readers.text),
    "--mmproj-offload": _set("mmproj_use_gpu"),
    "--image-min-tokens": _set("image_min_tokens", readers.integer),
    "--image-max-tokens": _set("image_max_tokens", readers.integer),
    "--mtmd-batch-max-tokens": _set("mtmd_batch_max_tokens", readers.integer),
    "--video-fps": _set("video_fps", readers.number),
    "--video-timestamp-interval": _set("video_timestamp_interval_ms", readers.integer),
    "--video-ffmpeg-dir": _set("video_ffmpeg_bin_dir", readers.text),
    # prompt processing
    "--threads": _set("cpuparams.n_threads", readers.threads),
    "--threads-batch": _set("cpuparams_batch.n_threads", readers.threads),
    "--cpu-strict": _set("cpuparams.strict_cpu", readers.truth),
    "--cpu-strict-batch": _set("cpuparams_batch.strict_cpu", readers.truth),
    "--prio": _set("cpuparams.priority", _PRIORITY),
    "--prio-batch": _set("cpuparams_batch.priority", _PRIORITY),
    "--poll": _set("cpuparams.poll", readers.integer),
    "--poll-batch": _set("cpuparams_batch.poll", readers.integer),
    "--ctx-size": _set("n_ctx", readers.integer),
    "--predict": _set("n_predict", readers.integer),
    "--batch-size": _set("n_batch", readers.integer),
    "--ubatch-size": _set("n_ubatch", readers.integer),
    "--keep": _set("n_keep", readers.integer),
    "--flash-attn": _set("flash_attn_type", _FLASH),
    "--perf": _set("no_perf", None, "sampling.no_perf", value=False),
    "--escape": _set("escape"),
    "--rope-scaling": _set("rope_scaling_type", readers.choice("llama_rope_scaling_type", "LLAMA_ROPE_SCALING_TYPE_")),
    "--rope-scale": _set("rope_freq_scale", readers.inverse),
    "--rope-freq-base": _set("rope_freq_base", readers.number),
    "--rope-freq-scale": _set("rope_freq_scale", readers.number),
    "--yarn-orig-ctx": _set("yarn_orig_ctx", readers.integer),
    "--yarn-ext-factor": _set("yarn_ext_factor", readers.number),
    "--yarn-attn-factor": _set("yarn_attn_factor", readers.number),
    "--yarn-beta-slow": _set("yarn_beta_slow", readers.number),
    "--yarn-beta-fast": _set("yarn_beta_fast", readers.number),
    "--context-shift": _set("ctx_shift"),
    "--warmup": _set("warmup"),
    "--cont-batching": _set("cont_batching"),
    "--cache-prompt": _set("cache_prompt"),
    "--cache-reuse": _set("n_cache_reuse", readers.integer),
    # sampling
    "--samplers": _set("sampling.samplers", readers.text, marks="SAMPLERS"),
    "--seed": _set("sampling.seed", lambda word, so_far, x: int(word) % 2**32),
    "--ignore-eos": _set("sampling.ignore_eos"),
    "--temp": _set("sampling.temp", readers.number, marks="TEMP"),
    "--top-k": _set("sampling.top_k", readers.integer, marks="TOP_K"),
    "--top-p": _set("sampling.top_p", readers.number, marks="TOP_P"),
    "--min-p": _set("sampling.min_p", readers.number, marks="MIN_P"),
    "--xtc-probability": _set("sampling.xtc_probability", readers.number, marks="XTC_PROBABILITY"),
    "--xtc-threshold": _set("sampling.xtc_threshold", readers.number, marks="XTC_THRESHOLD"),
    "--typical": _set("sampling.typ_p", readers.number),
    "--repeat-last-n": _set("sampling.penalty_last_n", readers.integer, marks="PENALTY_LAST_N"),
    "--repeat-penalty": _set("sampling.penalty_repeat", readers.number, marks="PENALTY_REPEAT"),
    "--presence-penalty": _set("sampling.penalty_present", readers.number),
    "--frequency-penalty": _set("sampling.penalty_freq", readers.number),
    "--dry-multiplier": _set("sampling.dry_multiplier", readers.number),
    "--dry-base": _set("sampling.dry_base", readers.number),
    "--dry-allowed-length": _set("sampling.dry_allowed_length", readers.integer),
    "--dry-penalty-last-n": _set("sampling.dry_penalty_last_n", readers.integer),
    "--adaptive-target": _set("sampling.adaptive_target", readers.number),
    "--adaptive-decay": _set("sampling.adaptive_decay", readers.number),
    "--dynatemp-range": _set("sampling.dynatemp_range", readers.number),
    "--dynatemp-exp": _set("sampling.dynatemp_exponent", readers.number),
    "--mirostat": _set("sampling.mirostat", readers.integer, marks="MIROSTAT"),
    "--mirostat-lr": _set("sampling.mirostat_eta", readers.number, marks="MIROSTAT_ETA"),
    "--mirostat-ent": _set("sampling.mirostat_tau", readers.number, marks="MIROSTAT_TAU"),
    "--grammar": _set("sampling.grammar", readers.grammar),
    "--grammar-file": _set(
        "sampling.grammar", lambda word, so_far, x: readers.grammar(readers.content(word, None, x), None, x)
    ),
    "--backend-sampling": _set("sampling.backend_sampling"),
    # several GPUs
    "--gpu-layers": _set("n_gpu_layers", readers.layers),
    "--split-mode": _set("split_mode", readers.choice("llama_split_mode", "LLAMA_SPLIT_MODE_")),
    "--tensor-split": _set("tensor_split", readers.shares),
    "--main-gpu": _set("main_gpu", readers.integer),
    # memory
    "--swa-full": _set("swa_full"),
    "--kv-offload": _set("no_kv_offload", value=False),
    "--repack": _set("no_extra_bufts", value=False),
    "--no-host": _set("no_host"),
    "--cache-type-k": _set("cache_type_k", _CACHE_TYPE),
    "--cache-type-v": _set("cache_type_v", _CACHE_TYPE),
    "--load-mode": _set("load_mode", readers.choice("llama_load_mode", "LLAMA_LOAD_MODE_", dio="DIRECT_IO")),
    "--lazy-mode": _set("lazy_mode", readers.choice("llama_lazy_mode", "LLAMA_LAZY_MODE_")),
    "--numa": _set("numa", readers.choice("ggml_numa_strategy", "GGML_NUMA_STRATEGY_")),
    "--override-tensor": _set("tensor_buft_overrides", readers.text),
    "--moe-cache-mib": _set("moe_cache_size", readers.mib),
    "--fit": _set("fit_params", readers.truth),
    "--fit-target": _set("fit_params_target", readers.mib_per_device),
    "--fit-ctx": _set("fit_params_min_ctx", readers.integer),
    "--check-tensors": _set("check_tensors"),
    "--op-offload": _set("no_op_offload", value=False),
    "--kv-unified": _set("kv_unified"),
    "--kv-unified-per-slot": _set("kv_unified_per_slot", readers.integer),
    "--ctx-checkpoints": _set("n_ctx_checkpoints", readers.integer),
    "--checkpoint-min-step": _set("checkpoint_min_step", readers.integer),
    "--cache-ram": _set("cache_ram_mib", readers.integer),
    "--cache-idle-slots": _set("cache_idle_slots"),
    # server
    "--pooling": _set("pooling_type", readers.choice("llama_pooling_type", "LLAMA_POOLING_TYPE_")),
    "--parallel": _set("n_parallel", readers.integer),
    "--alias": _set("model_alias", readers.names),
    "--tags": _set("model_tags", readers.names),
    "--embd-normalize": _set("embd_normalize", readers.integer),
    "--host": _set("hostnames", readers.hosts),
    "--port": _set("port", readers.integer),
    "--reuse-port": _set("reuse_port"),
    "--path": _set("public_path", readers.text),
    "--cors-origins": _set("cors_origins", readers.text),
    "--cors-methods": _set("cors_methods", readers.text),
    "--cors-headers": _set("cors_headers", readers.text),
    "--cors-credentials": _set("cors_credentials"),
    "--api-prefix": _set("api_prefix", readers.text),
    "--embedding": _set("embedding"),
    "--rerank": _set("embedding", readers.rank, "pooling_type"),
    "--api-key": _set("api_keys", readers.more),
    "--api-key-file": _set("api_keys", readers.keys_of_file),
    "--timeout": _set("timeout_read", readers.integer, "timeout_write"),
    "--sse-ping-interval": _set("sse_ping_interval", readers.integer),
    "--threads-http": _set("n_threads_http", readers.integer),
    "--metrics": _set("endpoint_metrics"),
    "--props": _set("endpoint_props"),
    "--slots": _set("endpoint_slots"),
    "--slot-save-path": _set("slot_save_path", readers.folder),
    "--media-path": _set("media_path", readers.folder),
    "--slot-prompt-similarity": _set("slot_prompt_similarity", readers.number),
    "--sleep-idle-seconds": _set("sleep_idle_seconds", readers.integer),
    # speculative decoding
    "--spec-draft-type-k": _set("speculative.draft.cache_type_k", _CACHE_TYPE),
    "--spec-draft-type-v": _set("speculative.draft.cache_type_v", _CACHE_TYPE),
    "--lookup-cache-static": _set("speculative.ngram_cache.lookup_cache_static", readers.text),
    "--lookup-cache-dynamic": _set("speculative.ngram_cache.lookup_cache_dynamic", readers.text),
    "--spec-draft-threads": _set("speculative.draft.cpuparams.n_threads", readers.threads),
    "--spec-draft-threads-batch": _set("speculative.draft.cpuparams_batch.n_threads", readers.threads),
    "--spec-draft-cpu-strict": _set("speculative.draft.cpuparams.strict_cpu", readers.truth),
    "--spec-draft-cpu-strict-batch": _set("speculative.draft.cpuparams_batch.strict_cpu", readers.truth),
    "--spec-draft-prio": _set("speculative.draft.cpuparams.priority", _PRIORITY),
    "--spec-draft-prio-batch": _set("speculative.draft.cpuparams_batch.priority", _PRIORITY),
    "--spec-draft-poll": _set("speculative.draft.cpuparams.poll", readers.integer),
    "--spec-draft-poll-batch": _set("speculative.draft.cpuparams_batch.poll", readers.integer),
    "--spec-draft-override-tensor": _set("speculative.draft.tensor_buft_overrides", readers.text),
    "--spec-draft-n-max": _set("speculative.draft.n_max", readers.integer),
    "--spec-draft-n-min": _set("speculative.draft.n_min", readers.integer),
    "--spec-synth-len": _set("speculative.synth_len", readers.number),
    "--spec-synth-rates": _set("speculative.synth_rates", readers.numbers),
    "--spec-draft-p-split": _set("speculative.draft.p_split", readers.number),
    "--spec-draft-p-min": _set("speculative.draft.p_min", readers.number),
    "--spec-draft-backend-sampling": _set("speculative.draft.backend_sampling"),
    "--spec-draft-sampling": _set("speculative.draft.probabilistic", lambda word, *_: word == "probabilistic"),
    "--spec-draft-ngl": _set("speculative.draft.n_gpu_layers", readers.layers),
    "--spec-draft-model": _set("speculative.draft.mparams.path", readers.text),
    "--spec-type": _set("speculative.types", readers.choices("common_speculative_type", "COMMON_SPECULATIVE_TYPE_")),
    "--spec-ngram-mod-n-min": _set("speculative.ngram_mod.n_min", readers.integer),
    "--spec-ngram-mod-n-max": _set("speculative.ngram_mod.n_max", readers.integer),
    "--spec-ngram-mod-n-match": _set("speculative.ngram_mod.n_match", readers.integer),
    "--spec-ngram-simple-size-n": _set("speculative.ngram_simple.size_n", readers.integer),
    "--spec-ngram-simple-size-m": _set("speculative.ngram_simple.size_m", readers.integer),
    "--spec-ngram-simple-min-hits": _set("speculative.ngram_simple.min_hits", readers.integer),
    "--spec-ngram-map-k-size-n": _set("speculative.ngram_map_k.size_n", readers.integer),
    "--spec-ngram-map-k-size-m": _set("speculative.ngram_map_k.size_m", readers.integer),
    "--spec-ngram-map-k-min-hits": _set("speculative.ngram_map_k.min_hits", readers.integer),
    "--spec-ngram-map-k4v-size-n": _set("speculative.ngram_map_k4v.size_n", readers.integer),
    "--spec-ngram-map-k4v-size-m": _set("speculative.ngram_map_k4v.size_m", readers.integer),
    "--spec-ngram-map-k4v-min-hits": _set("speculative.ngram_map_k4v.min_hits", readers.integer),
    # chat template and reasoning
    "--reverse-prompt": _set("antiprompt", readers.one_more),
    "--special": _set("special"),
    "--chat-template-kwargs": _set("default_template_kwargs", readers.template_values),
    "--jinja": _set("use_jinja"),
    "--reasoning-format": _set(
        "reasoning_format", readers.choice("common_reasoning_format", "COMMON_REASONING_FORMAT_")
    ),
    "--reasoning": _set("enable_reasoning", readers.thinking, "default_template_kwargs"),
    "--reasoning-effort": _set("default_template_kwargs", readers.effort),
    "--reasoning-budget": _set("sampling.reasoning_budget_tokens", readers.integer),
    "--reasoning-budget-message": _set("sampling.reasoning_budget_message", readers.text),
    "--chat-template": _set("chat_template", readers.text),
    "--chat-template-file": _set("chat_template", readers.content),
    "--skip-chat-parsing": _set("force_pure_content_parser"),
    "--prefill-assistant": _set("prefill_assistant"),
    # logging, web page
    "--verbose": _set("verbosity", lambda *_: 2**31 - 1),
    "--verbosity": _set("verbosity", readers.integer),
    "--log-prompts-dir": _set("path_prompts_log_dir", readers.text),
    "--ui": _set("ui"),
    "--ui-config": _set("ui_config_json", readers.text),
    "--ui-config-file": _set("ui_config_json", readers.content),
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

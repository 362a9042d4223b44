"""Classes that wrap a known model of text with eyes: where its configuration lies, and which tensors are its own.

Called by `converted` before anything else is looked at, and by `lora` for the names of tensors. What is handed on is
the configuration and the names that the model of text alone would have; tensors that see are told apart by name, and
left out. The rule kept: a model of text that is not in the table is refused by its name. Source of names and of what is
left out of a configuration: transformers, configuration_*.py and its mapping of checkpoints' names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nexus_ctl.artifacts.headers.folder import Told

_MISTRAL = {"mistral": "MistralForCausalLM"}
_LLAVA = {"llama": "LlamaForCausalLM", **_MISTRAL}
WRAPPERS: Mapping[str, Mapping[str, str]] = {
    "Gemma3ForConditionalGeneration": {"gemma3_text": "Gemma3ForCausalLM"},
    "Mistral3ForConditionalGeneration": _MISTRAL,
    "LlavaForConditionalGeneration": _LLAVA,
    "LlavaNextForConditionalGeneration": _LLAVA,
    "Qwen2VLForConditionalGeneration": dict.fromkeys(("qwen2_vl", "qwen2_vl_text"), "Qwen2VLForConditionalGeneration"),
    "Qwen2_5_VLForConditionalGeneration": dict.fromkeys(
        ("qwen2_5_vl", "qwen2_5_vl_text"), "Qwen2_5_VLForConditionalGeneration"
    ),
    "Qwen3VLForConditionalGeneration": {"qwen3_vl_text": "Qwen3VLForConditionalGeneration"},
}
"""By class: the row of `architectures` for each `model_type` that its text may have."""

_USUAL: Mapping[str, Mapping[str, Any]] = {
    "gemma3_text": {
        "vocab_size": 262_208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-6,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
    },
    "llama": {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
    },
    "mistral": {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-6,
    },
}
"""What a nested configuration leaves out where it is as its class has it; the hub's files do."""
_OUTER = re.compile(r"(?:.+_token_id|tie_word_embeddings|quantization_config|vision_config)")
"""Keys of the whole that its text is told too, where it does not say them itself."""
_SEEING = re.compile(r"(?:model\.)?(?:vision_tower|multi_modal_projector|visual|image_newline)(?:\..+)?")
_TEXT = ((re.compile(r"language_model\.(model|lm_head)\b"), r"\1"), (re.compile(r"model\.language_model\b"), "model"))


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of the text's model, its class as `architectures` has it; of other classes the very same.

    Raises ValueError for a text of another kind.
    """
    name = (config.get("architectures") or [""])[0]
    if name not in WRAPPERS:
        return config
    where, own = ("text_config.", config["text_config"]) if config.get("text_config") else ("", config)
    kind: Any = own.get("model_type")
    if kind not in WRAPPERS[name]:
        known = " or ".join(WRAPPERS[name])
        raise ValueError(
            f"config.json: {where}model_type is {kind!r}; the text of {name} is converted where it is {known}"
        )
    outer = {key: value for key, value in config.items() if _OUTER.fullmatch(key)}
    return Told("config.json", {**_USUAL.get(kind, {}), **outer, **own, "architectures": [WRAPPERS[name][kind]]})


def text_tensor(name: str) -> str:
    """A tensor's name in a model of its text alone; "" of one that sees."""
    if _SEEING.fullmatch(name):
        return ""
    for wrapped, alone in _TEXT:
        name = wrapped.sub(alone, name, count=1) if wrapped.match(name) else name
    return name

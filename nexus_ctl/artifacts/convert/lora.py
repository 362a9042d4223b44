"""What a LoRA adapter of PEFT becomes as a GGUF: its whole header, and from where each tensor is taken.

Called like `converted`, by the dry run and by the converter's child, on the adapter's two files and the header of the
model that it changes: from there come the architecture, the heads, and the width that each pair must have. The rule
kept: what llama.cpp would compute otherwise than PEFT is refused. Source of names, rows and keys: llama.cpp,
convert_lora_to_gguf.py and src/llama-adapter.cpp; of the configuration: PEFT, LoraConfig.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from math import prod
from typing import Any

from nexus_ctl.artifacts.convert.architectures import FAMILIES
from nexus_ctl.artifacts.convert.converted import Converted, assembled, refused
from nexus_ctl.artifacts.convert.layout import WIDTHS, Origin, Slab, place_of
from nexus_ctl.artifacts.convert.multimodal import text_tensor
from nexus_ctl.artifacts.headers import safetensors
from nexus_ctl.artifacts.headers.folder import Folder
from nexus_ctl.artifacts.headers.gguf_bytes import Written
from nexus_ctl.artifacts.quantize.mixture import walk_order
from nexus_ctl.resources.quantization import ALL_F32, FILE_TYPES
from nexus_ctl.resources.weights import TYPE_BY_NAME, GgufHeader, Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
HINT = "convert it with llama.cpp's convert_lora_to_gguf.py, and name the GGUF as the source"
_REFUSED = (
    *("use_dora", "use_qalora", "lora_bias", "fan_in_fan_out", "modules_to_save", "rank_pattern", "alpha_pattern"),
    *("layer_replication", "target_parameters", "trainable_token_indices", "alora_invocation_tokens"),
)
"""Settings that make an adapter more than a factor times `B A` on plain matrices; all are off when left out."""
_BEGINNINGS = (None, True, False, "gaussian", "eva")
"""Values of `init_lora_weights` that leave the model's own weights as they are."""
_INNER: Mapping[str, Mapping[str, str]] = {
    architecture: {
        key: name for one in FAMILIES.values() if one.architecture == architecture for key, name in one.inner.items()
    }
    for architecture in {one.architecture for one in FAMILIES.values()}
}
_TURNED = {one.architecture for one in FAMILIES.values() if one.turned}
_PAIR = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")


def adapter(folder: Folder, model: GgufHeader, kind: str) -> Converted:
    """The GGUF of an adapter for `model`, its numbers as `kind` (f32, f16, bf16).

    Raises Terminal (`conversion-impossible`) for anything but what is known to come out right.
    """
    with refused(HINT):
        return _adapter(folder, model, kind)


def _adapter(folder: Folder, model: GgufHeader, kind: str) -> Converted:
    if CONFIG not in folder.files or WEIGHTS not in folder.files:
        raise ValueError(f"{CONFIG} and {WEIGHTS} must be among the files")
    if model.architecture not in _INNER:
        raise ValueError(f"the model that it changes is {model.architecture}, not one of {', '.join(sorted(_INNER))}")
    config = json.loads(folder.whole(CONFIG))
    _check(config)
    origins, tensors = _tensors(folder, model, config["r"], kind)
    metadata: dict[str, Written] = {
        "general.architecture": model.architecture,
        "general.type": "adapter",
        "general.file_type": ALL_F32 if kind == "f32" else FILE_TYPES[kind.upper()].number,
        "general.quantization_version": 2,
        "adapter.type": "lora",
        "adapter.lora.alpha": _alpha(config),
    }
    return assembled(metadata, tensors, origins)


def _check(config: Mapping[str, Any]) -> None:
    """Raises ValueError for an adapter of another kind, KeyError for one without rank."""
    if config.get("peft_type") != "LORA":
        raise ValueError(f"it is an adapter of the kind {config.get('peft_type')}, not LORA")
    more = [name for name in _REFUSED if config.get(name)]
    if config.get("bias", "none") != "none":
        more.append("bias")
    if config.get("init_lora_weights") not in _BEGINNINGS:
        more.append(f"init_lora_weights: {config['init_lora_weights']}")
    if more:
        raise ValueError(f"it was trained with {', '.join(more)}, which llama.cpp's adapters do not have")
    if type(config["r"]) is not int:
        raise ValueError("r is not a whole number")


def _alpha(config: Mapping[str, Any]) -> float:
    """What llama.cpp divides by the rank: PEFT's own alpha, which a rank-stabilised one divides by the rank's root."""
    return float(config["lora_alpha"]) * (math.sqrt(config["r"]) if config.get("use_rslora") else 1.0)


def _tensors(folder: Folder, model: GgufHeader, rank: int, kind: str) -> tuple[dict[str, Origin], tuple[Tensor, ...]]:
    """Every tensor, renamed. Raises ValueError for one that the model has no place for, or half a pair."""
    read, size = folder.files[WEIGHTS]
    header = safetensors.read_header(read, size)
    places = {tensor.name: tensor.dims for tensor in model.tensors}
    origins: dict[str, Origin] = {}
    tensors, begin = [], header.data_offset
    for one in header.tensors:
        found = _PAIR.fullmatch(one.name)
        if found is None:
            raise ValueError(f"{one.name} is no half of a pair of matrices")
        if not (changed := text_tensor(f"{found[1]}.weight")):
            raise ValueError(f"{one.name} changes what sees, which llama.cpp's adapters do not")
        there = place_of(changed, _INNER[model.architecture])
        place = there.names[0]
        name = f"{place}.lora_{found[2].lower()}"
        if not there.role or len(there.names) > 1 or len(places.get(place, ())) != 2:
            raise ValueError(f"it changes {place}, which the model does not have, or which is not changed here")
        width, height = places[place]
        wanted = (rank, width) if found[2] == "A" else (height, rank)
        if one.dims != wanted or one.type not in WIDTHS:
            raise ValueError(f"{one.name} is {one.dims} of {one.type}; for this model it must be {wanted}")
        turned = _heads(model, there.role) if found[2] == "B" else 0
        origins[name] = (Slab(WEIGHTS, begin, one.type, *one.dims, heads=turned),)
        dims = tuple(reversed(one.dims))
        tensors.append(Tensor(name, dims, kind, prod(dims) * TYPE_BY_NAME[kind].block_bytes))
        begin += one.size_bytes
    other = {"a": "b", "b": "a"}
    alone = [name for name in origins if name[:-1] + other[name[-1]] not in origins]
    if alone or not origins:
        raise ValueError(f"half of a pair is missing ({alone[0]} stands alone)" if alone else "it changes nothing")
    return origins, walk_order(tuple(tensors))


def _heads(model: GgufHeader, role: str) -> int:
    """For how many heads the rows of this matrix are put into llama.cpp's order; 0 = they stay."""
    keys = {"attn_q": ("head_count",), "attn_k": ("head_count_kv", "head_count")}.get(role, ())
    if model.architecture not in _TURNED or not keys:
        return 0
    heads = next((value for key in keys if (value := model.field(f"attention.{key}")) is not None), None)
    if type(heads) is not int:
        raise ValueError("the model that it changes does not say one number of heads for all layers")
    return heads

"""Which type each tensor of a quantized model gets: llama.cpp's mixtures, as a pure function of the header.

Called by the dry run, whose sizes are therefore exact, and by the quantizer, which makes exactly what was planned. The
rule kept: tensors are walked in the order llama.cpp walks them, since some rules count what went before. Tests hold it
against the real library over architectures and types. Source of the rules: llama.cpp, src/llama-quant.cpp.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from nexus_ctl.resources.quantization import FILE_TYPES
from nexus_ctl.resources.weights import TYPE_BY_NAME, GgufHeader, Tensor

NEVER_QUANTIZED = (
    *("_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj"),
    *("ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight"),
    *("time_mix_first.weight", "time_mix_lerp_fused.weight", "attn_rel_b.weight"),
    *(f"time_mix_{part}.weight" for part in ("w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2")),
    *("time_mix_decay_w1.weight", "time_mix_decay_w2.weight", ".position_embd", "sam.pos_embd", "sam.neck."),
    *("sam.net_", ".rel_pos", ".patch_embd", ".patch_merger", "a.rvq.codebook", "mm.a.code_embd"),
)
"""Parts of names of tensors that keep their type: small, or too precious."""
NEVER_QUANTIZED_NAMES = frozenset({"position_embd.weight", "token_types.weight"})
FALLBACKS = {
    **dict.fromkeys(("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq4_xs"), "iq4_nl"),
    "q2_k": "q4_0",
    "q3_k": "q4_0",
    "q4_k": "q5_0",
    "q5_k": "q5_1",
    "q6_k": "q8_0",
}
"""What a tensor gets whose rows do not divide into the blocks of its type."""
NEEDS_IMATRIX = frozenset({"iq3_xxs", "iq2_xxs", "iq2_xs", "iq2_s", "iq1_m", "iq1_s"})
_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
_ROLES = (
    ("attn_qkv.weight", "qkv"),
    ("attn_kv_b.weight", "kv_b"),
    ("attn_v.weight", "v"),
    ("attn_k.weight", "k"),
    ("attn_q.weight", "q"),
    ("attn_output.weight", "o"),
    ("ffn_up", "up"),
    ("ffn_gate", "gate"),
    ("ffn_down", "down"),
)
_LIKE_V = frozenset({"v", "qkv", "kv_b"})
_LAYER = re.compile(r"blk\.(\d+)\.")
_SMALLEST = frozenset({"IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ1_S", "IQ1_M"})
_SEVENTY_BILLION = {("qwen2", 80), ("deci", 80), ("olmo", 80), ("jais2", 68)}
"""(architecture, layers) that llama.cpp takes for a model of 70 billion; llama itself by its heads."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """The type of every tensor by name, and what happened on the way."""

    types: dict[str, str]
    fallbacks: dict[str, tuple[str, str]]
    """Tensors whose rows do not divide: the type they should have had, and the one they get."""
    wants_imatrix: tuple[str, ...]
    """Tensors whose type llama.cpp refuses without an importance matrix."""


def walk_order(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """By layer (those of none first), then by name; also the order in which the result holds them."""
    return tuple(sorted(tensors, key=lambda tensor: (_layer(tensor.name), tensor.name.encode())))


def mixture(header: GgufHeader, quantization: str, *, has_imatrix: bool) -> Mixture:
    """The types of a quantization of this model. Raises ValueError where a rule needs a layer that a name lacks."""
    rules = _Rules(header, quantization, has_imatrix)
    base = FILE_TYPES[quantization].base
    types: dict[str, str] = {}
    fallbacks: dict[str, tuple[str, str]] = {}
    for tensor in walk_order(header.tensors):
        if not may_quantize(tensor):
            types[tensor.name] = tensor.type
            continue
        wished = rules.wish(tensor) if TYPE_BY_NAME[base].block > 1 else base
        types[tensor.name] = _that_divides(tensor, wished)
        if types[tensor.name] != wished:
            fallbacks[tensor.name] = (wished, types[tensor.name])
    wants = tuple(name for name, kind in types.items() if _wants_imatrix(name, kind, quantization))
    return Mixture(types, fallbacks, tuple(name for name in wants if may_quantize_name(name)))


def may_quantize(tensor: Tensor) -> bool:
    """False for vectors, norms, routers and the like: they keep the type they have."""
    return any(dim > 1 for dim in tensor.dims[1:]) and may_quantize_name(tensor.name)


def may_quantize_name(name: str) -> bool:
    """The part of `may_quantize` that the name decides."""
    if not name.endswith("weight") or name in NEVER_QUANTIZED_NAMES:
        return False
    return not any(part in name for part in NEVER_QUANTIZED)


def _wants_imatrix(name: str, kind: str, quantization: str) -> bool:
    if name in _EMBEDDINGS or name == "output.weight":
        return False
    return kind in NEEDS_IMATRIX or (kind == "q2_k" and quantization == "Q2_K_S")


def _that_divides(tensor: Tensor, wished: str) -> str:
    row = tensor.dims[0]
    if row % TYPE_BY_NAME[wished].block == 0:
        return wished
    if wished not in FALLBACKS:
        raise ValueError(f"{tensor.name}: rows of {row} do not divide into blocks of {wished}, which has no fallback")
    other = FALLBACKS[wished]
    return other if row % TYPE_BY_NAME[other].block == 0 else "f16"


def _layer(name: str) -> int:
    found = _LAYER.match(name)
    return int(found[1]) if found else -1


def _role(name: str) -> str:
    if name == "output.weight":
        return "output"
    if name in _EMBEDDINGS:
        return "embedding"
    return next((role for part, role in _ROLES if part in name), "")


def _more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth, and every third between: layers that lose most."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


@dataclass
class _Rules:
    """The walk over one model: `wish` is asked once per tensor, in order."""

    header: GgufHeader
    quantization: str
    has_imatrix: bool
    _seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        names = {tensor.name for tensor in self.header.tensors}
        self.arch = self.header.architecture
        self.layers = self._number("block_count")
        self.experts = self._number("expert_count")
        heads, kv_heads = self._number("attention.head_count"), self._number("attention.head_count_kv")
        kv_heads = kv_heads if self.header.field("attention.head_count_kv") is not None else heads
        self.queries_per_head = heads // kv_heads if kv_heads else 0
        self.tied = "output.weight" not in names
        self.like_v = sum(_role(name) in _LIKE_V for name in names)
        self.is_70b = (self.arch, self.layers) in _SEVENTY_BILLION or (
            (self.arch, self.layers) == ("llama", 80) and self.experts != 8 and heads != kv_heads
        )

    def _number(self, name: str) -> int:
        value = self.header.field(name)
        first = value[0] if isinstance(value, tuple) and value else value
        return first if isinstance(first, int) else 0

    def wish(self, tensor: Tensor) -> str:
        """The type before rows are asked whether they divide."""
        role = _role(tensor.name)
        if role == "output" or (self.tied and role == "embedding"):
            return self._output(tensor)
        if role == "embedding":
            return self._embedding()
        if self.quantization in _SMALLEST:
            return self._smallest(role)
        if role in _LIKE_V:
            return self._like_v()
        answers = {
            "k": self._key,
            "q": self._query,
            "o": self._attention_output,
            "gate": self._inner,
            "up": self._inner,
        }
        if role == "down":
            return self._down(tensor)
        return answers[role](tensor, role) if role in answers else self.base

    @property
    def base(self) -> str:
        return FILE_TYPES[self.quantization].base

    def _output(self, tensor: Tensor) -> str:
        if self.arch == "falcon" or tensor.dims[0] % TYPE_BY_NAME[self.base].block:
            return "q8_0"
        if self.quantization in _SMALLEST or self.quantization == "IQ3_XXS":
            return "q5_k"
        return "q8_0" if self.base == "q8_0" else "q6_k"

    def _embedding(self) -> str:
        if self.quantization in ("IQ2_S", "IQ2_M", "IQ3_XXS"):
            return "iq3_s"
        return "q2_k" if self.quantization in _SMALLEST else self.base

    def _smallest(self, role: str) -> str:
        richer = self.quantization in ("IQ2_S", "IQ2_M")
        wider = "iq3_s" if richer else "q2_k"
        if role in _LIKE_V:
            return "q4_k" if self.queries_per_head >= 4 or self.experts >= 4 else wider
        if self.experts == 8 and role == "k":
            return "q4_k"
        if role == "down":
            return wider if self._count("down") < self.layers // 8 else self.base
        if role == "o":
            if self.experts == 8:
                return "q5_k"
            return "iq3_s" if richer else "iq2_xxs" if self.quantization in ("IQ1_S", "IQ1_M") else self.base
        return self.base

    def _count(self, role: str) -> int:
        """How many of a role went before."""
        self._seen[role] += 1
        return self._seen[role] - 1

    def _like_v(self) -> str:
        before = self._count("v")
        grouped = self.queries_per_head >= 4
        wish = self.base
        match self.quantization:
            case "Q2_K":
                wish = "q4_k" if grouped else "q3_k"
            case "Q2_K_S" | "IQ3_XS" | "IQ3_S" if grouped:
                wish = "q4_k"
            case "IQ3_XXS":
                wish = "q4_k" if grouped else "iq3_xxs" if self.has_imatrix else "iq3_s"
            case "IQ3_M":
                wish = "q4_k"
            case "Q3_K_M":
                wish = "q5_k" if before < 2 else "q4_k"
            case "Q3_K_L":
                wish = "q5_k"
            case "IQ4_NL" | "IQ4_XS" if grouped:
                wish = "q5_k"
            case "Q4_K_M" | "Q5_K_M" if _more_bits(before, self.like_v):
                wish = "q6_k"
            case "Q4_K_S" if before < 4:
                wish = "q5_k"
        if self.is_70b and wish in ("q3_k", "q4_k"):
            wish = "q5_k"
        return "q8_0" if self.experts == 8 else wish

    def _key(self, tensor: Tensor, role: str) -> str:
        return "q8_0" if self.experts == 8 else self._query(tensor, role)

    def _query(self, tensor: Tensor, role: str) -> str:
        return {"IQ3_XS": "iq3_xxs", "IQ3_XXS": "iq2_s"}.get(self.quantization, self.base)

    def _attention_output(self, tensor: Tensor, role: str) -> str:
        if self.arch == "falcon":
            return "q4_k" if self.quantization == "Q3_K_L" else self.base
        if self.experts == 8:
            eight = {"Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M"}
            eight |= {"IQ3_XS", "IQ3_XXS", "IQ3_S", "IQ3_M", "IQ4_NL", "IQ4_XS"}
            return "q5_k" if self.quantization in eight else self.base
        wider = {"Q2_K": "q3_k", "IQ3_XXS": "iq3_s", "Q3_K_M": "q4_k", "Q3_K_L": "q5_k", "IQ3_M": "q4_k"}
        return wider.get(self.quantization, self.base)

    def _inner(self, tensor: Tensor, role: str) -> str:
        layer = self._place(role, tensor)
        middle = self.layers // 8 <= layer < 7 * self.layers // 8
        return "iq3_xxs" if self.quantization == "IQ3_XS" and middle else self.base

    def _place(self, role: str, tensor: Tensor) -> int:
        """The layer: of expert tensors by their name, of others by counting."""
        before = self._count(role)
        if self.experts <= 1:
            return before
        layer = _layer(tensor.name)
        if not 0 <= layer < self.layers:
            raise ValueError(f"{tensor.name} is in no layer of {self.layers}")
        return layer

    def _down(self, tensor: Tensor) -> str:
        layer = self._place("down", tensor)
        falcon, early = self.arch == "falcon", layer < self.layers // 8
        more = _more_bits(layer, self.layers)
        match self.quantization:
            case "Q2_K":
                return "q3_k"
            case "Q2_K_S":
                return "q4_k" if early else self.base
            case "IQ3_XXS" if not self.has_imatrix:
                return "q4_k" if early else "q3_k"
            case "Q3_K_M":
                if layer < self.layers // 16:
                    return "q5_k"
                return "q4_k" if not falcon or more else "q3_k"
            case "IQ3_M" if early or (self.experts == 8 and more):
                return "q4_k"
            case "Q3_K_L":
                return "q4_k" if falcon else "q5_k"
            case "Q4_K_M" if falcon:
                return "q6_k" if layer < self.layers // 16 else "q5_k" if more else "q4_k"
            case "Q4_K_M" | "Q5_K_M" if more:
                return "q6_k"
            case "IQ4_NL" | "IQ4_XS" if early and not self.has_imatrix:
                return "q5_k"
            case "Q4_K_S" if early and not falcon:
                return "q5_k"
            case "Q4_0" | "Q5_0" if early and self.has_imatrix:
                return {"Q4_0": "q4_1", "Q5_0": "q5_1"}[self.quantization]
        return self.base

"""The quantizations a Model may ask for: what llama.cpp calls a file type. A table; nothing here reads a file.

Read by the manifest (is it a known type, does it need an importance matrix), by the dry run in `artifacts`, and by the
tools. Source: llama.cpp, include/llama.h (enum llama_ftype) and src/llama-quant.cpp (which type a file begins with).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

QuantType = Literal[
    "Q2_K",
    "Q2_K_S",
    "Q3_K_S",
    "Q3_K_M",
    "Q3_K_L",
    "Q4_0",
    "Q4_1",
    "Q4_K_S",
    "Q4_K_M",
    "Q5_0",
    "Q5_1",
    "Q5_K_S",
    "Q5_K_M",
    "Q6_K",
    "Q8_0",
    "F16",
    "BF16",
    "IQ1_S",
    "IQ1_M",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ2_S",
    "IQ2_M",
    "IQ3_XXS",
    "IQ3_XS",
    "IQ3_S",
    "IQ3_M",
    "IQ4_XS",
    "IQ4_NL",
]


@dataclass(frozen=True, slots=True)
class FileType:
    """`number` is what the file says it is; `base` the tensor type most tensors get; the mixture changes the others."""

    number: int
    base: str
    needs_imatrix: bool = False
    """llama.cpp refuses to make it without an importance matrix."""


FILE_TYPES: Mapping[str, FileType] = {
    "F16": FileType(1, "f16"),
    "Q4_0": FileType(2, "q4_0"),
    "Q4_1": FileType(3, "q4_1"),
    "Q8_0": FileType(7, "q8_0"),
    "Q5_0": FileType(8, "q5_0"),
    "Q5_1": FileType(9, "q5_1"),
    "Q2_K": FileType(10, "q2_k"),
    "Q3_K_S": FileType(11, "q3_k"),
    "Q3_K_M": FileType(12, "q3_k"),
    "Q3_K_L": FileType(13, "q3_k"),
    "Q4_K_S": FileType(14, "q4_k"),
    "Q4_K_M": FileType(15, "q4_k"),
    "Q5_K_S": FileType(16, "q5_k"),
    "Q5_K_M": FileType(17, "q5_k"),
    "Q6_K": FileType(18, "q6_k"),
    "IQ2_XXS": FileType(19, "iq2_xxs", True),
    "IQ2_XS": FileType(20, "iq2_xs", True),
    "Q2_K_S": FileType(21, "q2_k", True),
    "IQ3_XS": FileType(22, "iq3_s", True),
    "IQ3_XXS": FileType(23, "iq3_xxs", True),
    "IQ1_S": FileType(24, "iq1_s", True),
    "IQ4_NL": FileType(25, "iq4_nl"),
    "IQ3_S": FileType(26, "iq3_s"),
    "IQ3_M": FileType(27, "iq3_s"),
    "IQ2_S": FileType(28, "iq2_xs", True),
    "IQ2_M": FileType(29, "iq2_s", True),
    "IQ4_XS": FileType(30, "iq4_xs"),
    "IQ1_M": FileType(31, "iq1_m", True),
    "BF16": FileType(32, "bf16"),
}
assert FILE_TYPES.keys() == set(get_args(QuantType))

ALL_F32 = 0
"""The file type of a model without any narrower tensor."""

"""What vLLM logs at its start, and what an earlier start says against the next one.

Called after a start with the replica's log lines, and by the plan; pure. The lines were held against the sources and
against published logs of the releases named below, not against a vLLM that ran here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from nexus_ctl.placement.vllm.budget import BLOCK_TOKENS, gib
from nexus_ctl.placement.vllm.settings import GIB


@dataclass(frozen=True, slots=True)
class VllmReport:
    """What vLLM logs at start, in bytes and tokens; None where the line is missing."""

    weights: int | None = None
    cache: int | None = None
    graphs: int | None = None
    tokens: int | None = None
    """Tokens that the cache holds."""
    context: int | None = None
    """Tokens of one sequence of full length."""


_SIZE = r"(\d+(?:\.\d+)?) ?Gi?B"
_GIB_LINE = {
    "weights": re.compile(rf"[Mm]odel (?:loading took|weights (?:take|took)) {_SIZE}"),
    "cache": re.compile(rf"(?:Available KV cache memory:|reserved for KV Cache is) {_SIZE}"),
    "graphs": re.compile(rf"(?:Estimated CUDA graph memory|Graph capturing finished in .*, took):? {_SIZE}"),
}
_TOKEN_LINE = {
    "tokens": re.compile(r"GPU KV cache size: ([\d,]+) tokens"),
    "context": re.compile(r"Maximum concurrency for ([\d,]+) tokens per request"),
}


def parse_report(lines: Iterable[str]) -> VllmReport:
    """What a start's log tells. Every GPU's worker says it of itself: of weights and graphs the most counts, of cache
    and tokens the least, as vLLM itself does it.

    Source: vllm/v1/worker/gpu_worker.py and vllm/v1/core/kv_cache_utils.py of 0.11 to 0.30 (until 0.29 the tokens and
    the concurrency stand on lines of their own), vllm/worker/worker.py of 0.8.
    """
    found: dict[str, int] = {}
    for line in lines:
        for name, pattern in _GIB_LINE.items():
            if match := pattern.search(line):
                size = int(float(match[1]) * GIB)
                found[name] = min(found.get(name, size), size) if name == "cache" else max(found.get(name, 0), size)
        for name, pattern in _TOKEN_LINE.items():
            if match := pattern.search(line):
                count = int(match[1].replace(",", ""))
                found[name] = min(found.get(name, count), count)
    return VllmReport(**found)


def short_of(told: VllmReport, budget_then: int, budget: int, max_length: int | None) -> str:
    """Why a start within `budget` bytes of each GPU would end, by what one within `budget_then` told; "" where one
    sequence of `max_length` tokens (None = the model's own) finds room, or nothing is known of the cache.

    What is not cache is the same whatever the budget: weights, the peak of the profiling pass, graphs, the driver's.
    """
    wanted = max_length or told.context
    if not told.cache or not told.tokens or not wanted:
        return ""
    fixed, per_token = budget_then - told.cache, told.cache / told.tokens
    needed = fixed + math.ceil(wanted * per_token)
    if needed <= budget:
        return ""
    fits = max(int((budget - fixed) / per_token), 0) // BLOCK_TOKENS * BLOCK_TOKENS
    way_out = f"maxLength {fits} would fit" if fits else "no context would fit in that"
    return (
        f"vLLM would not start: {wanted} tokens of context take {gib(needed)} of each GPU ({gib(fixed)} of it before "
        f"any cache, by an earlier start), and its budget is {gib(budget)}; {way_out}"
    )

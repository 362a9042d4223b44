"""llama.cpp's defaults for requests that say nothing: sampling and reasoning. Fields of `resources.llama_cpp`.

A Preset of a Route does the same at the gateway, without a restart, and for one model under several names; these are
for what only the engine can do, and for requests without a Preset.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nexus_ctl.resources.field import Spec
from nexus_ctl.resources.flag import Flag

Sampler = Literal[
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature", "infill",
]  # fmt: skip


class EngineSampling(Spec):
    """Sampling of requests that do not set their own. What is left out is the model's own, else llama-server's."""

    temperature: Annotated[float | None, Flag("--temp"), Field(ge=0, le=5)] = None
    """Randomness; 0 is greedy."""
    top_k: Annotated[int | None, Flag("--top-k"), Field(ge=0)] = None
    """Keep this many most likely tokens; 0 keeps all."""
    top_p: Annotated[float | None, Flag("--top-p"), Field(gt=0, le=1)] = None
    """Nucleus sampling: smallest set of tokens with this probability mass."""
    min_p: Annotated[float | None, Flag("--min-p"), Field(ge=0, le=1)] = None
    """Drop tokens less likely than this share of the likeliest."""
    typical_p: Annotated[float | None, Flag("--typical"), Field(gt=0, le=1)] = None
    """Locally typical mass; 1 is off."""
    repeat_penalty: Annotated[float | None, Flag("--repeat-penalty"), Field(gt=0)] = None
    """Multiplicative penalty on repetition; 1 is off."""
    repeat_last_n: Annotated[int | None, Flag("--repeat-last-n"), Field(ge=-1)] = None
    """Tokens that penalties look back on; 0 none, -1 the whole context."""
    presence_penalty: Annotated[float | None, Flag("--presence-penalty"), Field(ge=-2, le=2)] = None
    """Penalty on tokens that already occurred."""
    frequency_penalty: Annotated[float | None, Flag("--frequency-penalty"), Field(ge=-2, le=2)] = None
    """Penalty on tokens by how often they occurred."""
    dry_multiplier: Annotated[float | None, Flag("--dry-multiplier"), Field(ge=0)] = None
    """Strength of the DRY penalty on repeated sequences; 0 is off."""
    dry_base: Annotated[float | None, Flag("--dry-base"), Field(ge=1)] = None
    """How fast the DRY penalty grows with the length of the repetition."""
    dry_allowed_length: Annotated[int | None, Flag("--dry-allowed-length"), Field(ge=0)] = None
    """Repetitions up to this length cost nothing."""
    xtc_probability: Annotated[float | None, Flag("--xtc-probability"), Field(ge=0, le=1)] = None
    """Chance that the likeliest tokens are taken out; 0 is off."""
    xtc_threshold: Annotated[float | None, Flag("--xtc-threshold"), Field(ge=0, le=1)] = None
    """Tokens likelier than this may be taken out."""
    mirostat: Annotated[Literal[0, 1, 2] | None, Flag("--mirostat")] = None
    """Mirostat's version; 0 is off. It takes the place of top-k, top-p and typical."""
    mirostat_learning_rate: Annotated[float | None, Flag("--mirostat-lr"), Field(gt=0)] = None
    """Mirostat's eta."""
    mirostat_entropy: Annotated[float | None, Flag("--mirostat-ent"), Field(gt=0)] = None
    """Mirostat's tau."""
    samplers: Annotated[list[Sampler] | None, Flag("--samplers", joined=";"), Field(min_length=1)] = None
    """Which samplers, in this order."""
    seed: Annotated[int | None, Flag("--seed"), Field(ge=0, lt=2**32)] = None
    """Random seed; a new one for each request when left out."""
    max_tokens: Annotated[int | None, Flag("--predict"), Field(ge=1)] = None
    """Tokens to generate at most."""


class Reasoning(Spec):
    """Models that think before they answer."""

    enabled: Annotated[Literal["on", "off", "auto"] | None, Flag("--reasoning")] = None
    """Whether the model thinks; `auto`, the engine's default, goes by the chat template."""
    format: Annotated[Literal["none", "deepseek"] | None, Flag("--reasoning-format")] = None
    """Where thoughts stand: in the answer (`none`), or apart in `reasoning_content` (`deepseek`)."""
    effort: Annotated[str | None, Flag("--reasoning-effort"), Field(pattern=r"^[a-z]+$")] = None
    """How much, as a word that the chat template knows: `low`, `high`."""
    budget: Annotated[int | None, Flag("--reasoning-budget"), Field(ge=-1)] = None
    """Tokens of thought at most; -1 has no limit, 0 ends it at once."""

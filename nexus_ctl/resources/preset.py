"""Kind `Preset`: how a model is asked. A route-level thing: a variant never needs a second copy in memory."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from nexus_ctl.resources.field import LIVE, Spec, as_set

Lockable = Literal[
    "temperature", "topP", "topK", "minP", "maxTokens", "seed", "stop", "presencePenalty", "frequencyPenalty",
    "repeatPenalty", "systemPrompt", "responseFormat",
]  # fmt: skip


class Sampling(Spec):
    """Sampling parameters, by the OpenAI API's names where it has them. Unset is the engine's default."""

    temperature: Annotated[float | None, Field(ge=0, le=5)] = None
    """Randomness; 0 is greedy."""
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    """Nucleus sampling: smallest set of tokens with this probability mass."""
    top_k: Annotated[int | None, Field(ge=0)] = None
    """Keep this many most likely tokens; 0 keeps all. llama.cpp and vLLM extension."""
    min_p: Annotated[float | None, Field(ge=0, le=1)] = None
    """Drop tokens less likely than this share of the likeliest. llama.cpp and vLLM extension."""
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    """Tokens to generate at most."""
    seed: Annotated[int | None, Field(ge=0, lt=2**32)] = None
    """Random seed."""
    stop: Annotated[list[str] | None, Field(max_length=16)] = None
    """Texts that end the answer."""
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    """Penalty on tokens that already occurred."""
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    """Penalty on tokens by how often they occurred."""
    repeat_penalty: Annotated[float | None, Field(gt=0)] = None
    """llama.cpp's multiplicative repetition penalty; 1 is off."""


class PresetSpec(Spec):
    """What a Preset declares. Every change takes effect with the next request; nothing restarts."""

    sampling: Annotated[Sampling, LIVE] = Sampling()
    """Sampling parameters for requests that do not set their own."""
    system_prompt: Annotated[str | None, LIVE] = None
    """Put before the conversation when the client sends no system message of its own."""
    response_format: Annotated[dict[str, Any] | None, LIVE] = None
    """Output constraint in the OpenAI form, for example `{type: json_object}`."""
    locked: Annotated[list[Lockable], as_set(LIVE)] = []
    """Fields on which the preset wins over what the client sets."""

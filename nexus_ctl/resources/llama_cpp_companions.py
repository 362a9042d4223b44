"""What llama.cpp loads beside the model it serves: a draft model, adapters, a projector.

Fields of `resources.llama_cpp.LlamaCpp`. The words that name the files are rendered by `engines.llama_cpp`, the others
by their `Flag`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nexus_ctl.resources.field import REPLACED_BY_CONTENT, Spec, refers_to
from nexus_ctl.resources.flag import Flag
from nexus_ctl.resources.model_file import FileName, ModelFile

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]
Layers = Literal["auto", "all"] | Annotated[int, Field(ge=0)]
DeviceName = Annotated[str, Field(pattern=r"^[^,\s]+$")]


class Draft(Spec):
    """Speculative decoding: a small model of the same vocabulary guesses, the large one checks several tokens at
    once."""

    model: Annotated[str | None, refers_to(REPLACED_BY_CONTENT, "Model")] = None
    """Name of the Model that guesses. The content is what counts. Only `mtp` may go without it."""
    file: FileName | None = None
    """Which of the Model's files, where a hub repository gives several."""
    method: Literal["simple", "eagle3", "mtp", "dflash", "dspark"] = "simple"
    """What guesses: an ordinary model (`simple`), or a head that was trained for this target."""
    n_max: Annotated[int | None, Flag("--spec-draft-n-max"), Field(ge=1, le=1024)] = None
    """Tokens guessed at once at most; the engine's default is 3."""
    n_min: Annotated[int | None, Flag("--spec-draft-n-min"), Field(ge=0, le=1024)] = None
    """Fewer guesses than this are thrown away."""
    p_min: Annotated[float | None, Flag("--spec-draft-p-min"), Field(ge=0, le=1)] = None
    """Guessing stops where the draft model is less sure than this."""
    sampling: Annotated[Literal["greedy", "probabilistic"] | None, Flag("--spec-draft-sampling")] = None
    """How the draft model picks its guesses."""
    gpu_layers: Annotated[Layers | None, Flag("--spec-draft-ngl")] = None
    """Layers of the draft model on the GPU: a number, `all`, or `auto`."""
    devices: Annotated[list[DeviceName] | None, Flag("--spec-draft-device"), Field(min_length=1)] = None
    """Devices of the draft model; those of the large one when left out."""
    cache_type_k: Annotated[CacheType | None, Flag("--spec-draft-type-k")] = None
    """Element type of the draft model's K cache."""
    cache_type_v: Annotated[CacheType | None, Flag("--spec-draft-type-v")] = None
    """Element type of the draft model's V cache; a quantized one needs flash attention."""
    threads: Annotated[int | None, Flag("--spec-draft-threads"), Field(ge=1)] = None
    """CPU threads of the draft model."""

    @model_validator(mode="after")
    def _a_model_or_a_head(self) -> Draft:
        if self.model is None and self.method != "mtp":
            raise ValueError(f"method {self.method} needs a model")
        if self.model is None and self.file is not None:
            raise ValueError("file chooses among the files of a model, and none is given")
        return self


class Adapter(ModelFile):
    """A LoRA adapter, as a GGUF file. Its number in requests is its place in the list, from 0."""

    scale: Annotated[float, Field(ge=-100, le=100)] = 1.0
    """How strongly it counts in requests that say nothing; 0 loads it for those that ask by `lora`."""


class Projector(ModelFile):
    """Turns images and sound into what the model reads (`mmproj`)."""

    offload: Annotated[bool, Flag("", off="--no-mmproj-offload")] = True
    """Run it on the GPU."""
    image_min_tokens: Annotated[int | None, Flag("--image-min-tokens"), Field(ge=1)] = None
    """Tokens of an image at least, for models of dynamic resolution."""
    image_max_tokens: Annotated[int | None, Flag("--image-max-tokens"), Field(ge=1)] = None
    """Tokens of an image at most."""

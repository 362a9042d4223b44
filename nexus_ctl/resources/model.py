"""Kind `Model`: a model file, where it comes from, how its bytes are pinned. Made true by a verified artifact."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nexus_ctl.resources.field import INERT, REPLACE, REPLACED_BY_CONTENT, Spec, as_set, refers_to
from nexus_ctl.resources.quantity import LocalPath
from nexus_ctl.resources.quantization import FILE_TYPES, QuantType
from nexus_ctl.resources.secret import SecretSource

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PypiSource(Spec):
    """One file inside a wheel on the Python package index."""

    package: str
    """Distribution name, as given to `pip install`."""
    version: str
    """Exact version; a range is refused because it is no pin."""
    member: str
    """Path of the file inside the wheel."""


class HuggingFaceSource(Spec):
    """Files of a repository on the Hugging Face hub, at one commit."""

    repo: Annotated[str, Field(pattern=r"^\w[\w.-]*/\w[\w.-]*$")]
    """Repository, `owner/name`."""
    revision: Annotated[str, Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")] = "main"
    """Branch, tag or commit. The commit it names at first download is kept; a branch that moved on is only looked at
    with `--refresh`."""
    files: Annotated[list[str], as_set(REPLACE)] = []
    """Patterns (`*Q4_K_M*`, `tokenizer/*`) of which a file must match one; all files when left out. Any part of a split
    GGUF stands for the whole of it."""
    ignore: Annotated[list[str], as_set(REPLACE)] = []
    """Patterns of which a file must match none."""


class Source(Spec):
    """Where the bytes come from: exactly one of `path`, `url`, `pypi`, `huggingFace`."""

    path: Annotated[LocalPath | None, REPLACED_BY_CONTENT] = None
    """A file on this machine, used in place and never copied; relative to the manifest. The content is what counts,
    so moving the file is no change."""
    url: Annotated[str | None, REPLACE, Field(pattern=r"^https?://")] = None
    """An `http` or `https` address; the download resumes after an interruption."""
    pypi: Annotated[PypiSource | None, REPLACE] = None
    """A pinned wheel's member, fetched through pip's own index settings and verified against the index's hash."""
    hugging_face: Annotated[HuggingFaceSource | None, REPLACE] = None
    """Files of a hub repository, verified against the hub's digests; `HF_ENDPOINT` names a mirror, and what the Hugging
    Face cache holds is not downloaded again."""
    token: Annotated[SecretSource | None, INERT] = None
    """Bearer token for `url` or `huggingFace`, by reference; never stored. Without it the hub gets the token that the
    Hugging Face client is logged in with, if any."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        origins = {"path": self.path, "url": self.url, "pypi": self.pypi, "huggingFace": self.hugging_face}
        given = [name for name, value in origins.items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(origins)}; found {', '.join(given) or 'none'}")
        if self.token is not None and self.url is None and self.hugging_face is None:
            raise ValueError("token only goes with url or huggingFace")
        return self


class Convert(Spec):
    """Another format: safetensors of the hub as a GGUF. Done once, on this machine, before any quantization."""

    to: Annotated[Literal["gguf"], REPLACE] = "gguf"
    """The format."""
    type: Annotated[Literal["f32", "f16", "bf16"], REPLACE] = "bf16"
    """How numbers are stored; `bf16` loses nothing of most models. Adapters are mostly trained in `f32`."""
    base: Annotated[str | None, refers_to(REPLACE, "Model")] = None
    """The Model that the source is a LoRA adapter for (PEFT: `adapter_config.json`, `adapter_model.safetensors`), a
    GGUF of any quantization. Left out, the source is a model itself."""


class Imatrix(Spec):
    """An importance matrix, as `llama-imatrix` writes it (GGUF): exactly one of `path`, `model`."""

    path: Annotated[LocalPath | None, REPLACED_BY_CONTENT] = None
    """A file on this machine; relative to the manifest. The content is what counts."""
    model: Annotated[str | None, refers_to(REPLACE, "Model")] = None
    """A Model of this stack whose file is the matrix."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Imatrix:
        if (self.path is None) == (self.model is None):
            raise ValueError("give exactly one of path, model")
        return self


class Quantize(Spec):
    """Narrower numbers: less memory, some loss. Done once, on this machine, from the source's GGUF."""

    type: Annotated[QuantType, REPLACE]
    """What llama.cpp calls the file type. The plan says how many bits per weight it really is for this model."""
    imatrix: Annotated[Imatrix | None, REPLACE] = None
    """What says which weights matter most. Needed by the smallest types, good for all below 6 bits."""

    @model_validator(mode="after")
    def _matrix_where_needed(self) -> Quantize:
        if FILE_TYPES[self.type].needs_imatrix and self.imatrix is None:
            raise ValueError(
                f"{self.type} is worthless without an importance matrix, so llama.cpp refuses it; "
                "give imatrix.path, or choose Q2_K, IQ3_S or a larger type"
            )
        return self


class ModelSpec(Spec):
    """What a Model declares."""

    source: Annotated[Source, REPLACE]
    """Where the bytes come from."""
    sha256: Annotated[Sha256 | None, REPLACE] = None
    """The SHA-256 the source's file must have, lower-case hex. Without it the digest found at first download is
    recorded and held from then on."""
    convert: Annotated[Convert | None, REPLACE] = None
    """Make a GGUF of the source's safetensors; built once, again only when an input changes."""
    quantize: Annotated[Quantize | None, REPLACE] = None
    """Make this quantization of the source, or of what it was converted to, and serve that; built once, again only when
    an input changes."""
    deletion_policy: Annotated[Literal["Retain", "Delete"], INERT] = "Retain"
    """What happens to the bytes when the Model is deleted: `Retain` keeps them in the cache until `models gc`,
    `Delete` removes them unless another stack uses them. A `path` source is never deleted."""

    @model_validator(mode="after")
    def _whole_repository(self) -> ModelSpec:
        if self.convert is not None and self.source.hugging_face is None:
            raise ValueError(
                "convert needs source.huggingFace: a model's configuration, tokenizer and weights are several files"
            )
        if self.convert is not None and self.convert.base is not None and self.quantize is not None:
            raise ValueError("an adapter is not quantized; give convert.type, and leave quantize out")
        return self

"""A build step before it is done: the header and the exact size of what it will make, by which tool, and what to know.

Called by the cache while a plan is made, on headers and small files that may have been read over the network, and again
by the build, which holds its result against it. Raises what makes a step impossible, while nothing has moved yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nexus_ctl.artifacts.builds.tools import CONVERTER, Tool, find_tool
from nexus_ctl.artifacts.convert.converted import converted
from nexus_ctl.artifacts.convert.converted import impossible as not_convertible
from nexus_ctl.artifacts.convert.lora import adapter
from nexus_ctl.artifacts.headers.folder import Folder, local
from nexus_ctl.artifacts.headers.gguf import header_of
from nexus_ctl.artifacts.quantize.mixture import mixture
from nexus_ctl.artifacts.quantize.quantized import impossible, quantized
from nexus_ctl.artifacts.source import Means
from nexus_ctl.resources.artifact import Artifact, BuildStep, Conversion, Fallback, Forecast
from nexus_ctl.resources.weights import TYPE_BY_NAME, GgufHeader


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """The files of an adapter, and the header of the model that it changes."""

    folder: Folder
    model: GgufHeader


Base = GgufHeader | Folder | AdapterFolder
"""What a step works on: a model file's header, or the files of a repository."""


def base_of(step: BuildStep, inputs: Sequence[Artifact]) -> Base:
    """The same of what is here, all inputs of the step in order. Raises Terminal where it cannot begin with them."""
    artifact = inputs[0]
    if isinstance(step, Conversion):
        folder = folder_of(artifact)
        return folder if step.model is None else AdapterFolder(folder, model_of(inputs[1]))
    header = header_of(artifact)
    if header is None:
        raise impossible(f"{artifact.origin} is no GGUF file", "only a GGUF can be quantized; convert it first")
    return header


def model_of(artifact: Artifact) -> GgufHeader:
    """The header of the model that an adapter changes. Raises Terminal when it is no GGUF."""
    header = header_of(artifact)
    if header is None:
        raise not_convertible(
            f"the model that it changes ({artifact.origin}) is no GGUF file",
            "name the Model that is served as convert.base",
        )
    return header


def folder_of(artifact: Artifact) -> Folder:
    """The files of a repository that is here. Raises as `files_of`."""
    return local(files_of(artifact))


def files_of(artifact: Artifact) -> Mapping[str, Path]:
    """The files of a repository by their names in it. Raises Terminal when it is a single file."""
    if not artifact.files:
        raise not_convertible(f"{artifact.origin} is one file; its configuration is needed too")
    return {str(Path(file).relative_to(artifact.path)): Path(file) for file in artifact.files}


def predicted(step: BuildStep, base: Base) -> GgufHeader:
    """The header of what the step makes of `base`, `file_bytes` exact. Raises Terminal where it cannot be made."""
    return _made(step, base)[0]


def _made(step: BuildStep, base: Base) -> tuple[GgufHeader, tuple[str, ...]]:
    """The same, and what a person should know of it before."""
    if isinstance(base, AdapterFolder):
        return adapter(base.folder, base.model, step.type).header, ()
    if isinstance(base, Folder):
        plan = converted(base, step.type)
        return plan.header, plan.notes
    assert not isinstance(step, Conversion)
    return quantized(base, step.type, has_imatrix=step.imatrix is not None)[0], ()


def tool_for(step: BuildStep, means: Means, planned: str = "") -> Tool:
    """What will do it; the one of the words that were planned. Raises Terminal when nothing here can."""
    return CONVERTER if isinstance(step, Conversion) else find_tool(means.environ, means.image_tools, planned)


def forecast(step: BuildStep, base: Base | None, tool: Tool) -> Forecast:
    """What the step will make of `base`; None of a source that shows no header before it is here. Raises Terminal."""
    if base is None:
        return Forecast(None, tool.words, None, ("its exact size is known once the source is here",))
    header, notes = _made(step, base)
    bits = 8 * header.weights_bytes / header.parameters
    told = Forecast(header.file_bytes, tool.words, bits, notes, tensors=len(header.tensors))
    if not isinstance(base, GgufHeader) or isinstance(step, Conversion):
        return told
    ways = Counter(mixture(base, step.type, has_imatrix=step.imatrix is not None).fallbacks.values())
    again = {tensor.type for tensor in base.tensors if TYPE_BY_NAME[tensor.type].block > 1}
    fallbacks = tuple(Fallback(old, new, count) for (old, new), count in sorted(ways.items()))
    return replace(told, fallbacks=fallbacks, quantized_before=tuple(sorted(again)))

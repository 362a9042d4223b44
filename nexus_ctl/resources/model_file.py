"""A file of a Model, as an engine's parameters name one beside the model they serve: draft, adapter, projector.

Each is a reference: it is waited for, guarded against deletion, mounted read-only and counted in the memory estimate.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nexus_ctl.resources.field import REPLACED_BY_CONTENT, Spec, refers_to

FileName = Annotated[str, Field(min_length=1, pattern=r"^[^/]+$")]
"""A file's name without folders, or a pattern of one (`*Q4_K_M*.gguf`)."""


class ModelFile(Spec):
    """A Model, and which of its files."""

    model: Annotated[str, refers_to(REPLACED_BY_CONTENT, "Model")]
    """Name of the Model. The content is what counts."""
    file: FileName | None = None
    """Which of the Model's files, where a hub repository gives several: a name, or a pattern that one matches. Any part
    of a split GGUF stands for the whole of it."""

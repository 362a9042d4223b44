"""What a person means by a model: a declared Model's name, `hf:owner/name[@revision][/file]`, or the path of a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_ctl.errors import UsageError

if TYPE_CHECKING:
    from nexus_ctl.resources.declared import Stack
    from nexus_ctl.resources.envelope import Resource
    from nexus_ctl.resources.model import ModelSpec

_HUB = re.compile(r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*?)(?:@(?P<revision>\w[\w.-]*))?(?:/(?P<file>.+))?")


@dataclass(frozen=True, slots=True)
class HubTarget:
    """A repository, and within it a file, a pattern or a quantization's name; "" = whichever is smallest."""

    repo: str
    revision: str
    file: str

    @property
    def subject(self) -> str:
        """Under which it is rated."""
        return f"hf:{self.repo}"


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A file of this machine."""

    path: Path

    @property
    def subject(self) -> str:
        """Under which it is rated."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """A Model that the stack declares."""

    resource: Resource[ModelSpec]

    @property
    def subject(self) -> str:
        """Under which it is rated."""
        return self.resource.metadata.name


Target = HubTarget | FileTarget | ModelTarget


def target_of(text: str, stack: Stack | None) -> Target:
    """What `text` means. Raises UsageError, with the names there are, when no such Model is declared."""
    from nexus_ctl.resources.envelope import Ref

    if text.startswith("hf:"):
        match = _HUB.fullmatch(text)
        if match is None:
            raise UsageError(f"{text!r} names no repository", hint="write hf:owner/name, or hf:owner/name/file.gguf")
        return HubTarget(match["repo"], match["revision"] or "main", match["file"] or "")
    if text.endswith(".gguf") or "/" in text:
        return FileTarget(Path(text))
    resource = stack.resources.get(Ref("Model", text)) if stack is not None else None
    if resource is not None:
        return ModelTarget(resource)
    if stack is None:
        detail = f"no nexus.yaml here or above declares a Model named {text!r}"
        raise UsageError(
            detail, hint=f"name the manifest with -f, or a repository: hf:owner/{text}", code="unknown-object"
        )
    names = sorted(ref.name for ref in stack.resources if ref.kind == "Model")
    close = get_close_matches(text, names, n=1)
    hint = f'did you mean "{close[0]}"?' if close else f"a repository is written hf:owner/{text}"
    detail = f"no Model named {text!r} is declared (there are: {', '.join(names) or 'none'})"
    raise UsageError(detail, hint=hint, code="unknown-object")

"""A model that a person named → its configuration and tensor table, without downloading it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nexus_ctl.cli.model_target import FileTarget, HubTarget, ModelTarget, Target
from nexus_ctl.errors import ActionError, UsageError

if TYPE_CHECKING:
    from nexus_ctl.cli.invocation import Workspace
    from nexus_ctl.resources.catalog import ModelFacts
    from nexus_ctl.resources.checkpoint import Checkpoint


def checkpoint_of(target: Target, workspace: Workspace, *, refresh: bool) -> Checkpoint:
    """What the repository or folder says of it. Raises UsageError (`no-header`) with the reason where it says nothing,
    and what the hub refuses."""
    from nexus_ctl.artifacts.headers.checkpoint import local_checkpoint
    from nexus_ctl.artifacts.headers.window import BadHeader
    from nexus_ctl.cli.model_facts import token_of
    from nexus_ctl.resources.artifact import Request

    try:
        if isinstance(target, FileTarget):
            return local_checkpoint(target.path)
        if isinstance(target, HubTarget):
            found = workspace.catalog.repository(target.repo, target.revision, refresh=refresh)
            return workspace.catalog.checkpoint(found)
        spec, token = target.resource.spec, token_of(target, workspace)
        here, source = workspace.artifacts.find(Request(spec.source, spec.sha256)), spec.source.hugging_face
        if here is not None:
            return local_checkpoint(Path(here.path))
        if source is None:
            raise BadHeader("its source is no repository of the hub")
        found = workspace.catalog.repository(source.repo, source.revision, token=token, refresh=refresh)
        return workspace.catalog.checkpoint(found, token=token)
    except OSError as error:
        raise UsageError(f"{target.subject}: {error.strerror}", code="no-header") from error
    except BadHeader as error:
        raise _none(target, error) from error


def is_repository(target: Target, facts: ModelFacts) -> bool:
    """Whether it is served as a hub's repository holds it: no GGUF is in it, and none is made of it."""
    if isinstance(target, ModelTarget):
        spec = target.resource.spec
        return spec.source.hugging_face is not None and spec.convert is None and not facts.quantizations
    return isinstance(target, HubTarget) and not facts.quantizations


def _none(target: Target, error: ActionError) -> UsageError:
    hint = "vLLM's memory is told of a repository with config.json and safetensors files"
    return UsageError(f"{target.subject}: {error.detail}", hint=hint, code="no-header")

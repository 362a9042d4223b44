"""Any other engine, as a Deployment declares it: an image and the words to run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nexus_ctl.resources.field import REPLACE, Spec


class Custom(Spec):
    """A server of one's own that speaks the OpenAI protocol over HTTP."""

    image: Annotated[str | None, REPLACE, Field(min_length=1)] = None
    """Container image. The process runtime needs none: it takes the program from PATH."""
    command: Annotated[list[str], REPLACE, Field(min_length=1)]
    """Program and arguments. The words `{host}`, `{port}` (or `{host}:{port}`) and `{model}` stand for the address to
    listen on and the path of the model; the first word is the program by its name or path in the image."""
    port: Annotated[int, REPLACE, Field(ge=1, le=65535)] = 8080
    """Port inside the container; a process listens on a free one."""

"""Kind `Route`: a public model name, and which deployments answer for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from nexus_ctl.resources.field import LIVE, Spec, as_map, as_set, refers_to

PublicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,126}$")]


class Backend(Spec):
    """One deployment behind a route."""

    deployment: Annotated[str, refers_to(LIVE, "Deployment")]
    """Name of the Deployment."""
    weight: Annotated[int, Field(ge=0, le=1000)] = 1
    """Share of requests relative to the other backends; 0 takes none."""


class RouteSpec(Spec):
    """What a Route declares. Every change takes effect with the next request; nothing restarts."""

    model_name: Annotated[PublicName | None, LIVE] = None
    """The public name clients put in `model`; the route's own name when left out."""
    aliases: Annotated[list[PublicName], as_set(LIVE)] = []
    """Further public names of the same route."""
    backends: Annotated[list[Backend], as_map(LIVE, "deployment"), Field(min_length=1)]
    """The deployments that answer, with weights."""
    preset: Annotated[str | None, refers_to(LIVE, "Preset")] = None
    """Preset applied to every request of this route. Clients pick any preset of the stack with `name:preset`."""

    @model_validator(mode="after")
    def _distinct(self) -> RouteSpec:
        names = [backend.deployment for backend in self.backends]
        if len(set(names)) != len(names):
            raise ValueError("a deployment is named twice; give it one weight")
        if not any(backend.weight for backend in self.backends):
            raise ValueError("at least one backend needs a weight above 0")
        return self

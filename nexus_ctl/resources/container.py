"""What a Deployment says of its containers and its GPUs, whatever the engine. Other runtimes have no containers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nexus_ctl.resources.field import REPLACE, Spec, as_map
from nexus_ctl.resources.quantity import Bytes

Capability = Literal["gpu", "compute", "utility", "graphics", "video", "display"]


class Gpus(Spec):
    """GPUs per replica: exactly one of `count` and `ids`. The process runtime has none to give.

    Where nexusctl sees the GPUs, the plan says which ones a replica gets, and how much of each it counts on."""

    count: Literal["auto", "all"] | Annotated[int, Field(ge=1, le=64)] | None = None
    """How many; `auto` is the fewest that hold the whole model, `all` every one there is."""
    ids: Annotated[list[str] | None, Field(min_length=1)] = None
    """Which, in the order the engine sees them: indices (`"0"`), UUIDs (`GPU-...`) or CDI names
    (`nvidia.com/gpu=0`)."""
    memory: Annotated[Bytes | None, Field(gt=0)] = None
    """What to count on for each GPU, in place of the estimate. For vLLM it is also what the engine is given."""
    capabilities: Annotated[list[Capability], Field(min_length=1)] = ["gpu"]
    """What the driver makes available inside."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Gpus:
        if (self.count is None) == (self.ids is None):
            raise ValueError("give exactly one of count, ids")
        return self


class Container(Spec):
    """What a container may do beyond computing. Every container drops all capabilities, gains no privileges, and is
    published on loopback only."""

    user: Annotated[str | None, Field(pattern=r"^\d+(:\d+)?$")] = None
    """`uid` or `uid:gid` to run as; the image's own user when left out."""
    read_only_root: bool = True
    """Keep the image's files unchangeable."""
    writable: list[Annotated[str, Field(pattern=r"^/")]] = ["/tmp"]
    """Directories that are writable all the same, in memory."""
    shm_size: Annotated[Bytes | None, Field(gt=0)] = None
    """Size of `/dev/shm`; the engine's default is 64Mi, and 8Gi for vLLM."""
    pids: Annotated[int, Field(ge=1)] = 4096
    """Processes and threads at most."""
    ulimits: Annotated[dict[str, Annotated[int, Field(ge=-1)]], as_map(REPLACE)] = {}
    """Limits by name (`memlock`, `nofile`); -1 is unlimited."""

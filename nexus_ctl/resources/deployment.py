"""Kind `Deployment`: a model served by an engine. Made true by healthy replicas on a runtime."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nexus_ctl.resources.container import Container, Gpus
from nexus_ctl.resources.custom import Custom
from nexus_ctl.resources.field import INERT, LIVE, REPLACE, REPLACED_BY_CONTENT, Spec, as_map, refers_to
from nexus_ctl.resources.llama_cpp import LlamaCpp
from nexus_ctl.resources.placement import Strategy
from nexus_ctl.resources.quantity import Bytes, Duration
from nexus_ctl.resources.secret import EnvValue
from nexus_ctl.resources.vllm import Vllm

EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Engine(Spec):
    """The inference program and its parameters: exactly one engine."""

    llama_cpp: LlamaCpp | None = None
    """llama.cpp's `llama-server`."""
    vllm: Vllm | None = None
    """vLLM's `vllm serve`, in a container."""
    custom: Custom | None = None
    """Any other server that speaks the OpenAI protocol."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Engine:
        engines = {"llamaCpp": self.llama_cpp, "vllm": self.vllm, "custom": self.custom}
        given = [name for name, value in engines.items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(engines)}; found {', '.join(given) or 'none'}")
        return self


class Resources(Spec):
    """What a replica may use of the machine."""

    cpu: Annotated[float | None, LIVE, Field(gt=0)] = None
    """CPU cores per replica. The process runtime pins to whole cores and refuses a fraction."""
    memory: Annotated[Bytes | None, LIVE, Field(gt=0)] = None
    """Memory per replica beyond the mapped model file."""
    gpus: Annotated[Gpus | None, REPLACE] = None
    """GPUs per replica; none when left out."""


class Placing(Spec):
    """On which of the machine's GPUs a replica comes to lie. Looked at when one is made; none is ever moved."""

    strategy: Strategy | None = None
    """`pack` fills the fullest GPU that fits, `spread` takes the emptiest; the Stack's when left out."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Higher ones are placed first. One that finds no place evicts replicas of lower priority; the plan names them."""
    partial_offload: bool = False
    """llama.cpp: leave as many layers as must be in the machine's RAM where no GPU holds the whole model; slower."""


class Probe(Spec):
    """How nexusctl knows that a replica is ready."""

    path: Annotated[str, Field(pattern=r"^/")] = "/health"
    """HTTP path that answers 200 when the model is loaded."""
    interval: Annotated[Duration, Field(gt=0)] = 0.25
    """Time between two looks."""
    timeout: Annotated[Duration, Field(gt=0)] = 2.0
    """Time one look may take."""
    progress_deadline: Annotated[Duration, Field(gt=0)] = 120.0
    """A start fails after this long without a sign of progress (log output, loading state)."""
    healthy_deadline: Annotated[Duration, Field(gt=0)] = 600.0
    """A start fails after this long in any case."""


class Rollout(Spec):
    """How a replica is exchanged for a new one."""

    strategy: Literal["auto", "startFirst", "stopFirst"] = "auto"
    """`startFirst` runs both for a moment and drops no request; `stopFirst` needs no spare memory and leaves a gap;
    `auto` starts first when both are known to fit. The plan says which and why."""
    drain_deadline: Duration = 30.0
    """How long an old replica may finish its requests after it has left the routes."""
    stop_deadline: Duration = 10.0
    """Time from the polite signal to the kill."""
    min_healthy: Duration = 10.0
    """Ready for so long, a revision is stable: a failed roll-out goes back to it, and earlier crashes are forgiven."""


class DeploymentSpec(Spec):
    """What a Deployment declares."""

    model: Annotated[str, refers_to(REPLACED_BY_CONTENT, "Model")]
    """Name of the Model to serve. The content is what counts: renaming a Model is no change."""
    engine: Annotated[Engine, REPLACE]
    """The inference program and its parameters."""
    replicas: Annotated[int, LIVE, Field(ge=0, le=64)] = 1
    """How many replicas. Scaling down takes the highest number first, after draining it."""
    env: Annotated[dict[EnvName, EnvValue], as_map(REPLACE)] = {}
    """Environment variables of the engine."""
    resources: Annotated[Resources, LIVE] = Resources()
    """What a replica may use of the machine."""
    placement: Annotated[Placing, INERT] = Placing()
    """On which GPUs a replica comes to lie."""
    container: Annotated[Container, REPLACE] = Container()
    """What its containers may do; only for runtimes that have containers."""
    probe: Annotated[Probe, INERT] = Probe()
    """How nexusctl knows that a replica is ready."""
    rollout: Annotated[Rollout, INERT] = Rollout()
    """How a replica is exchanged for a new one."""
    drift: Annotated[Literal["heal", "report"], INERT] = "heal"
    """What to do about a replica that exited or vanished: start it again, or only say so."""
    suspend: Annotated[bool, INERT] = False
    """Leave this object as it is: observed and reported, neither changed nor healed nor pruned."""

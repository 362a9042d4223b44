"""A container of somebody else, as what `apply --adopt` may take over. Pure; `runtime.py` reads what it takes.

The rule: what cannot be watched, reached or told from another is refused with the reason, and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from nexus_ctl.errors import Terminal
from nexus_ctl.resources.adoption import Candidate
from nexus_ctl.resources.declared import dotted, models_of
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.runtimes.docker.adoption import DEFAULT_PORT, given_flags, manifests_from_inspect, runs_llama_server
from nexus_ctl.runtimes.docker.left_out import left_out
from nexus_ctl.runtimes.docker.observation import observed_replica


def candidate(inspect: Mapping[str, Any], image: Mapping[str, Any] | None, named: str = "") -> Candidate:
    """From the inspect answers of the container and of its image (None: gone); `named` is the id of what the image's
    name means by now."""
    replica = observed_replica(inspect)
    if image is None:
        return Candidate(replica, refused=f"its image {inspect['Image']} is gone")
    try:
        *models, deployment = manifests_from_inspect(inspect, image)
        told = left_out(inspect, image)
        spec = DeploymentSpec.model_validate(deployment["spec"], by_alias=True, by_name=False)
    except Terminal as error:
        return Candidate(replica, refused=error.detail)
    except ValidationError as error:
        first = error.errors()[0]
        where = dotted(("spec", *first["loc"]))
        return Candidate(replica, refused=f"no manifest can say it: {where}: {first['msg']}")
    if fault := _unreachable(inspect, image):
        return Candidate(replica, refused=fault)
    sources = {model["metadata"]["name"]: model["spec"]["source"]["path"] for model in models}
    return Candidate(
        replica,
        deployment["spec"],
        {path: sources[name] for path, name in models_of(spec).items()},
        (*told, *_image(inspect, named)),
    )


def _unreachable(inspect: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    """Why neither a probe nor the gateway would get to its engine; "" when they would."""
    published = sorted(port for port, bound in (inspect["HostConfig"].get("PortBindings") or {}).items() if bound)
    if not published:
        return "it publishes no port, by which the gateway could reach it"
    if len(published) > 1:
        return f"it publishes {', '.join(published)}; which of them is the engine's is not known"
    if runs_llama_server(inspect):
        listens = f"{given_flags(inspect, image).get('--port', DEFAULT_PORT)}/tcp"
        if published != [listens]:
            return f"its engine listens on {listens}, and it publishes {published[0]}"
    return ""


def _image(inspect: Mapping[str, Any], named: str) -> Iterator[str]:
    if named and named != inspect["Image"]:
        yield f"its image: {inspect['Config']['Image']} names another one by now"

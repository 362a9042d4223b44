"""Any other engine: its command as declared, with the model's path filled in. Reached through `engines.table`."""

from __future__ import annotations

from collections.abc import Iterator

from nexus_ctl.engines.fault import Fault
from nexus_ctl.resources.custom import Custom
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import HOST, PORT, LaunchSpec, Mount

MODEL = "{model}"
PATH = "spec.engine.custom"


def launch(spec: DeploymentSpec) -> LaunchSpec:
    """The engine's part of the launch specification; `engines.table` adds the Deployment's."""
    engine = _engine(spec)
    model = f"/models/{spec.model}"
    return LaunchSpec(
        argv=tuple(word.replace(MODEL, model) for word in engine.command),
        mounts=(Mount(target=model, model=spec.model),),
        image=engine.image or "",
        port=engine.port,
    )


def check(spec: DeploymentSpec) -> tuple[Fault, ...]:
    """Placeholders that would not be filled."""
    return tuple(_check(_engine(spec)))


def _engine(spec: DeploymentSpec) -> Custom:
    assert spec.engine.custom is not None  # the table chose this module by it
    return spec.engine.custom


def _check(engine: Custom) -> Iterator[Fault]:
    for word in engine.command:
        part = next((mark for mark in (HOST, PORT) if mark in word), None)
        if part is not None and word not in (HOST, PORT, f"{HOST}:{PORT}"):
            yield Fault(
                f"{PATH}.command", "placeholder-in-a-word",
                f"{part} in {word!r} is not filled in: it must be a word of its own, or {HOST}:{PORT}",
                "write the flag and its value as two words",
            )  # fmt: skip
    if not any(PORT in word for word in engine.command):
        yield Fault(
            f"{PATH}.command", "port-not-used",
            f"the command does not say {PORT}: in a container it must listen on {engine.port} by itself",
            f"add a word {PORT}", "warning",
        )  # fmt: skip

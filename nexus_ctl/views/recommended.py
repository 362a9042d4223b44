"""What is recommended of one model or several → text, JSON, or the names of the files to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nexus_ctl.placement.llama_cpp.choice import Recommendation
from nexus_ctl.resources.catalog import Fresh, RepoFile
from nexus_ctl.resources.device import Device, DeviceList
from nexus_ctl.views import choice, freshness

Machine = tuple[Device, DeviceList]


@dataclass(frozen=True, slots=True)
class Answer:
    """One model: what was found, weighed for which settings; or `why` it could not be weighed."""

    name: str
    found: Recommendation | None = None
    weighed_for: str = ""
    fresh: Fresh | None = None
    files: tuple[RepoFile, ...] = ()
    why: str = ""


def text(answers: Sequence[Answer], machine: Machine, now: datetime) -> str:
    """A section for each model, and the machine."""
    host, gpus = machine
    names = choice.names_of(gpus.devices)
    sections = [_section(one, names, now) for one in answers]
    return "\n".join([*sections, choice.machine_text(host, gpus.devices, gpus.reason) + "\n"])


def names(answers: Sequence[Answer]) -> str:
    """One file name a line: those of the best quantization of each model."""
    return "".join(f"{file.name}\n" for one in answers for file in one.files)


def to_json(answers: Sequence[Answer], machine: Machine) -> dict[str, Any]:
    """Keys are stable."""
    host, gpus = machine
    return {
        "machine": choice.machine_json(host, gpus.devices, gpus.reason),
        "models": [
            {"name": one.name, "error": one.why}
            if one.found is None
            else {"name": one.name, "for": one.weighed_for, **choice.to_json(one.found)}
            for one in answers
        ],
    }


def _section(one: Answer, names: dict[str, str], now: datetime) -> str:
    if one.found is None:
        return f"{one.name}: not weighed: {one.why}\n"
    known = freshness.as_of(one.fresh, now) if one.fresh is not None else "from the file"
    return f"{one.name}, {known}, weighed for {one.weighed_for}\n\n{choice.text(one.found, names)}"

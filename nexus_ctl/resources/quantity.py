"""Quantities a manifest may write as text: byte sizes and durations; and paths.

Canonical text is the largest unit that divides exactly, so that `1024Mi` and `1Gi` normalise to the same value and
never make a diff. Byte suffixes follow Kubernetes (`Ki Mi Gi Ti` binary, `k M G T` decimal).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema


@dataclass(frozen=True, slots=True)
class TypeName:
    """What `explain` and the reference call a type."""

    name: str


_BYTE_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BYTE_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*(Ki|Mi|Gi|Ti|k|M|G|T)?")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_bytes(text: object) -> int:
    """Bytes from `4Gi`, `512Mi`, `1.5G` or a plain integer. Raises ValueError."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _BYTES.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("not a byte size; write a whole number of bytes or a number with Ki, Mi, Gi, Ti, k, M, G, T")
    return int(float(match[1]) * _BYTE_UNITS[match[2] or ""])


def format_bytes_exact(count: int) -> str:
    """Canonical text: the largest binary unit that divides `count`."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if count and count % _BYTE_UNITS[unit] == 0:
            return f"{count // _BYTE_UNITS[unit]}{unit}"
    return str(count)


def parse_duration(text: object) -> float:
    """Seconds from `90s`, `1m30s`, `500ms` or a plain number of seconds. Raises ValueError."""
    if isinstance(text, int | float) and not isinstance(text, bool) and text >= 0:
        return float(text)
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError("not a duration; write for example 30s, 5m, 1h30m or 500ms")
    return sum(float(value) * _SECONDS[unit] for value, unit in _PART.findall(text))


def format_duration(seconds: float) -> str:
    """Canonical text: `1h30m`, `90ms`; zero is `0s`."""
    rest = round(seconds * 1000)
    parts: list[str] = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


Bytes = Annotated[
    int,
    TypeName("byte size"),
    BeforeValidator(parse_bytes),
    PlainSerializer(format_bytes_exact, return_type=str, when_used="json"),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_BYTES.pattern}$"}]}
    ),
]
"""A size in bytes."""

Duration = Annotated[
    float,
    TypeName("duration"),
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^{_DURATION.pattern}$"}]}
    ),
]
"""A span of time in seconds."""

LocalPath = Annotated[str, TypeName("path")]
"""A path on this machine. A relative one is relative to the file it is written in; loading makes it absolute."""

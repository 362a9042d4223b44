"""Secrets by reference (R29). The manifest names where the value is; only execution ever reads it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from nexus_ctl.resources.field import REPLACED_BY_CONTENT, Spec
from nexus_ctl.resources.quantity import LocalPath


class ValueFrom(Spec):
    """Where a secret's value is: exactly one of `env`, `file`, `exec`."""

    env: str | None = None
    """Name of an environment variable of the nexusctl process."""
    file: LocalPath | None = None
    """A file whose content, less one trailing newline, is the value; relative to the manifest."""
    exec: Annotated[list[str] | None, Field(min_length=1)] = None
    """A command (no shell) whose standard output, less one trailing newline, is the value."""

    @model_validator(mode="after")
    def _exactly_one(self) -> ValueFrom:
        given = [name for name in ("env", "file", "exec") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of env, file, exec; found {', '.join(given) or 'none'}")
        return self


class SecretSource(Spec):
    """A secret value, always by reference."""

    value_from: ValueFrom
    """Where the value is."""


class EnvValue(Spec):
    """An environment variable: a plain `value` or a secret `valueFrom`."""

    value: str | None = None
    """Plain text; visible in plans and status."""
    value_from: Annotated[ValueFrom | None, REPLACED_BY_CONTENT] = None
    """A secret, by reference; shown as `***` everywhere."""

    @model_validator(mode="after")
    def _exactly_one(self) -> EnvValue:
        if (self.value is None) == (self.value_from is None):
            raise ValueError("give exactly one of value, valueFrom")
        return self

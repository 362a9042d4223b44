"""What the command line names → values: manifests → Stack, `kind/name` → Ref. Warnings go to stderr on the way."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from nexus_ctl.errors import UsageError

if TYPE_CHECKING:
    from nexus_ctl.errors import Diagnostic
    from nexus_ctl.resources.declared import Stack
    from nexus_ctl.resources.envelope import Ref

GATEWAY = "Gateway"


def load_stack(files: Sequence[str], environment: str | None) -> Stack:
    """The Stack that `-f` and `-e` mean; its warnings are printed. Raises ManifestError, UsageError."""
    stack = read_stack(files, environment)
    show_warnings(stack)
    return stack


def stack_if_any(files: Sequence[str], environment: str | None) -> Stack | None:
    """The same; None where neither `-f` names one nor a nexus.yaml lies here or above."""
    from nexus_ctl.manifest.files import workspace_above

    if not files and environment is None and workspace_above(os.getcwd()) is None:
        return None
    return load_stack(files, environment)


def empty_stack() -> Stack:
    """No manifest at all: every setting at its default, nothing declared."""
    from nexus_ctl.resources.declared import Stack
    from nexus_ctl.resources.stack import StackSpec

    return Stack("default", StackSpec(), {}, base_dir=os.getcwd())


def locked_stack(files: Sequence[str], environment: str | None, *, whole: bool = False) -> Stack:
    """The same, held to its lock: for commands that change the world by it. Raises ManifestError where the lock cannot
    be read, the manifests contradict it, or, when it must be `whole`, a model has no entry; its builds bind, then."""
    from dataclasses import replace

    from nexus_ctl.errors import ManifestError

    stack = load_stack(files, environment)
    faults = [*stack.lock_faults, *(_missing_entries(stack) if whole else ())]
    if faults:
        raise ManifestError(faults)
    return replace(stack, lock=replace(stack.lock, strict=True)) if whole and stack.lock is not None else stack


def readable_lock(files: Sequence[str], environment: str | None) -> Stack:
    """The same, for commands that read or mend the lock: only one that cannot be read at all is refused."""
    from nexus_ctl.errors import ManifestError

    stack = load_stack(files, environment)
    faults = [fault for fault in stack.lock_faults if fault.code != "lock-contradicted"]
    if faults:
        raise ManifestError(faults)
    return stack


def _missing_entries(stack: Stack) -> Iterator[Diagnostic]:
    from nexus_ctl.errors import Diagnostic
    from nexus_ctl.manifest.codes import SUMMARIES

    known = stack.lock.models if stack.lock is not None else {}
    for ref in stack.resources:
        if ref.kind == "Model" and ref.name not in known:
            detail, hint = f"{ref} is not in {stack.lock_path}", f"nexusctl models lock {ref.name}"
            yield Diagnostic("not-locked", SUMMARIES["not-locked"], stack.locations[ref], "", detail, hint)


def chosen_models(stack: Stack, names: Sequence[str]) -> tuple[str, ...]:
    """The declared Models that are named, or all. Raises UsageError for one that is not declared."""
    known = sorted(ref.name for ref in stack.resources if ref.kind == "Model")
    for name in names:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise UsageError(f"no Model named {name!r} is declared (there are: {listed})", code="unknown-object")
    return tuple(dict.fromkeys(names)) or tuple(known)


def show_warnings(stack: Stack) -> None:
    """What is doubtful in the manifests, on stderr."""
    if stack.warnings:
        from nexus_ctl.cli.terminal import style_for
        from nexus_ctl.views.diagnostics import render

        click.echo(render(stack.warnings, style_for(sys.stderr)), err=True, nl=False)


def read_stack(files: Sequence[str], environment: str | None) -> Stack:
    """The same, saying nothing."""
    from nexus_ctl.manifest.stack import load

    return load(files, environment=environment, stdin=sys.stdin)


def kinds_of(words: Sequence[str]) -> list[str]:
    """The kinds that are meant, one for each word. Raises UsageError; for `deploy chat`, with what to write instead."""
    from nexus_ctl.resources.kinds import kind_named

    if len(words) > 1 and kind_named(words[0]) and not any(map(kind_named, words[1:])):
        meant = " ".join(f"{words[0]}/{name}" for name in words[1:])
        raise UsageError(f"{' '.join(words)!r} names no object", hint=f"write {meant}")
    return [kind_of(word) for word in words]


def kind_of(word: str) -> str:
    """The kind of object a person means by `deploy`, `deployments`, `gateway`. Raises UsageError with a suggestion."""
    if word.lower() in ("gateway", "gateways"):
        return GATEWAY
    kind = declared_kind(word)
    if kind == "Stack":
        raise UsageError("a Stack is settings, not an object", hint="nexusctl status")
    return kind


def declared_kind(word: str) -> str:
    """The kind of document a person means. Raises UsageError with a suggestion."""
    from difflib import get_close_matches

    from nexus_ctl.resources.kinds import KINDS, kind_named

    row = kind_named(word)
    if row is None:
        plurals = [kind.plural for kind in KINDS.values()]
        close = get_close_matches(word.lower(), [*plurals, *(name.lower() for name in KINDS)], n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"one of: {', '.join(plurals)}"
        raise UsageError(f'there is no kind "{word}"', hint=hint)
    return row.name


def ref_of(text: str, stack: Stack) -> Ref:
    """The object meant by `deployment/chat`; `gateway` alone means the gateway. Raises UsageError."""
    from nexus_ctl.resources.envelope import Ref

    kind, slash, name = text.partition("/")
    known = kind_of(kind)
    if known == GATEWAY:
        return Ref(GATEWAY, name or stack.name)
    if not slash or not name:
        raise UsageError(f"{text!r} names no object", hint=f"write {kind}/NAME")
    return Ref(known, name)


def no_such(ref: Ref, among: Sequence[Ref], stack: Stack) -> UsageError:
    """The error for an object that is not there: that it is only declared, else the nearest that is there."""
    from difflib import get_close_matches

    summary = "there is no such object"
    if ref in stack.resources:
        detail = f"{ref} is declared, not applied"
        return UsageError(detail, hint="nexusctl plan", code="unknown-object", summary=summary)
    close = get_close_matches(ref.name, [one.name for one in among if one.kind == ref.kind], n=1)
    hint = f'did you mean "{ref.kind.lower()}/{close[0]}"?' if close else "nexusctl get all"
    return UsageError(f"there is no {ref}", hint=hint, code="unknown-object", summary=summary)

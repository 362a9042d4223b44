"""Everything that can go wrong, as values: who can mend it, where it is, and the way out.

The tree branches by who can mend it::

    NexusError
    ├── ManifestError      the author of the manifest     (carries every Diagnostic at once)
    ├── UsageError         the person at the command line
    ├── PlanError          state moved or forbids it:  StalePlan, Blocked, Conflict
    ├── MachineError       whoever runs the machine:   LockBusy, RuntimeUnreachable, StoreError
    ├── ActionError        one action:                 Retryable, Terminal, and the port errors below
    │   ├── NameInUse, NotFound, Refused               (answers of a runtime, translated at the adapter's door)
    │   └── DeadlineExceeded, IntegrityError
    ├── Interrupted        nobody: the person at the terminal asked to stop
    └── Bug                us: "this is a bug in nexusctl"

`code` is kebab-case and stable; `summary` never holds user data, so people learn to recognise it; `detail`
holds the names; `hint` says what to do. Only `cli/main.py` prints errors and picks exit codes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a manifest. Lines and columns count from 1; `<stdin>` names standard input."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One fault (or warning) of a manifest, with everything needed to print it as a compiler would.

    `path` is the dotted field path (`spec.model`); `detail` is the text beside the caret; `source_line` is the
    manifest line as read (secrets never stand in manifests); `span` is how many characters the caret underlines.
    """

    code: str
    summary: str
    location: Location
    path: str = ""
    detail: str = ""
    hint: str = ""
    source_line: str = ""
    span: int = 1
    severity: str = "error"


class NexusError(Exception):
    """Base of all errors that nexusctl raises on purpose."""

    code = "error"
    summary = "nexusctl failed"

    def __init__(self, detail: str, *, hint: str = "", code: str = "", summary: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.code = code or type(self).code
        self.summary = summary or type(self).summary


class ManifestError(NexusError):
    """The manifests are wrong; nothing was done. Holds all diagnostics, sorted by place."""

    code = "manifest"
    summary = "the manifests have errors"

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(diagnostics, key=lambda d: (d.location, d.code, d.path)))
        count = sum(1 for d in self.diagnostics if d.severity == "error")
        super().__init__(f"{count} error{'s' if count != 1 else ''} in the manifests")


class UsageError(NexusError):
    """The command line asks for something that cannot be."""

    code = "usage"
    summary = "the command cannot be carried out as given"


class PlanError(NexusError):
    """What was planned may not, or may no longer, be done."""


class StalePlan(PlanError):
    """A saved plan no longer describes what would be done."""

    code = "stale-plan"
    summary = "the saved plan is stale"


class Conflict(PlanError):
    """Somebody else's write, or somebody else's thing, is in the way."""

    code = "conflict"
    summary = "something that is not ours is in the way"


class Blocked(PlanError):
    """Protection, policy or a missing confirmation forbids it."""

    code = "blocked"
    summary = "blocked by protection, policy or a missing confirmation"


class MachineError(NexusError):
    """The machine, not the manifest, stands in the way."""

    code = "machine"
    summary = "the machine cannot do this"


class LockBusy(MachineError):
    """Another nexusctl holds this state directory."""

    code = "lock-busy"
    summary = "another nexusctl is at work in this state directory"


class RuntimeUnreachable(MachineError):
    """The runtime (Docker Engine, ...) does not answer."""

    code = "runtime-unreachable"
    summary = "the runtime does not answer"


class StoreError(MachineError):
    """The state database cannot be used."""

    code = "store"
    summary = "the state database cannot be used"


class ActionError(NexusError):
    """One action failed; others may go on."""

    code = "action-failed"
    summary = "an action failed"

    @property
    def told(self) -> str:
        """What happened and the way out, in one line; without the summary where that only says that it failed."""
        bland = self.summary in (ActionError.summary, Retryable.summary, Terminal.summary)
        said = self.detail if bland else f"{self.summary}: {self.detail}"
        return f"{said} ({' '.join(self.hint.split())})" if self.hint else said


class Retryable(ActionError):
    """Trying again later may help (network, busy engine)."""

    code = "retryable"
    summary = "an action failed for now"


class Terminal(ActionError):
    """Trying again without a change is useless (bad flag, missing image, does not fit)."""

    code = "terminal"
    summary = "an action cannot succeed as declared"


class NameInUse(ActionError):
    """A create met a thing of that name (Docker's 409)."""

    code = "name-in-use"
    summary = "the name is already in use"


class NotFound(ActionError):
    """The thing is not there (Docker's 404)."""

    code = "not-found"
    summary = "the thing is not there"


class Refused(ActionError):
    """The runtime answered no; nothing changed."""

    code = "refused"
    summary = "the runtime refused"


class DeadlineExceeded(ActionError):
    """No sign of progress before the deadline."""

    code = "deadline-exceeded"
    summary = "no progress before the deadline"


class IntegrityError(Terminal):
    """Bytes are not the ones that were pinned."""

    code = "integrity"
    summary = "the content does not match its checksum"


class Interrupted(NexusError):
    """The person at the terminal asked to stop; nothing new is started."""

    code = "interrupted"
    summary = "interrupted"


class Bug(NexusError):
    """A state that nexusctl's own code promised never to reach."""

    code = "bug"
    summary = "this is a bug in nexusctl"

"""Saved plans (R6): a plan in a file, carried out later only if it still is exactly what would be done.

The file holds what to load again, what was found, and a fingerprint of every decision. On `apply --plan` the same
inputs are loaded, the world is looked at and planned for again, and anything that moved is named. Never a secret: a
plan has none.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controllers.looking import Options
from nexus_ctl import __version__
from nexus_ctl.errors import StalePlan, UsageError
from nexus_ctl.manifest.files import workspace_above
from nexus_ctl.planning.change import Change, Verb
from nexus_ctl.planning.plan import FORMAT_VERSION, Plan
from nexus_ctl.resources.normal import canonical_json
from nexus_ctl.views.plan import to_json

STDIN = "-"


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """What `plan --out` wrote."""

    path: str
    version: str
    files: tuple[str, ...]
    environment: str
    options: Options
    inputs: Mapping[str, str]
    decisions: Mapping[str, str]
    """Per object, the digest of what is to be done to it; "" where nothing is."""
    verbs: Mapping[str, str]
    locked: bool
    """Held to the lock to the byte, as by `--locked`."""

    def check(self, plan: Plan) -> None:
        """Raises StalePlan, naming everything that moved, unless `plan` is what was saved."""
        moved = [*self._moved_inputs(plan), *self._moved_changes(plan)]
        if self.version != __version__:
            moved.insert(0, f"planned by nexusctl {self.version}; this is {__version__}")
        if moved:
            raise StalePlan(f"since {self.path} was written:\n" + "\n".join(moved), hint="nexusctl plan")

    def _moved_inputs(self, plan: Plan) -> Iterator[str]:
        now = {one.path: one.sha256 for one in plan.inputs}
        for path in sorted(now.keys() | self.inputs.keys()):
            if path not in now or path not in self.inputs:
                yield f"input {path}: {'no longer read' if path not in now else 'new'}"
            elif now[path] != self.inputs[path]:
                yield f"input {path}: its content changed"

    def _moved_changes(self, plan: Plan) -> Iterator[str]:
        now, verbs = decisions(plan), {str(change.ref): change.verb.value for change in plan.changes}
        for ref in sorted(now.keys() | self.decisions.keys()):
            if now.get(ref, "") != self.decisions.get(ref, ""):
                before, after = (words.get(ref, Verb.NO_OP.value) for words in (self.verbs, verbs))
                yield f"{ref}: planned {before}, now {after if after != before else f'another {after}'}"


def no_check(plan: Plan) -> None:
    """For plans that were not saved."""


def check_inputs(files: Sequence[str]) -> None:
    """Standard input cannot be read again. Raises UsageError."""
    if STDIN in files:
        raise UsageError("a plan of standard input cannot be saved", hint="write it to a file and name that with -f")


def decisions(plan: Plan) -> dict[str, str]:
    """Per object, a digest of everything decided about it; only free memory and other words for people are left out."""
    nodes: dict[str, list[str]] = {}
    for node in plan.nodes:
        nodes.setdefault(str(node.ref), []).append(f"{node} {node.action!r}")
    moving = [change for change in plan.changes if change.verb is not Verb.NO_OP]
    return {str(change.ref): _digest(change, nodes.get(str(change.ref), [])) for change in moving}


def _digest(change: Change, nodes: Sequence[str]) -> str:
    reasons = [(reason.code, reason.path, reason.before, reason.after) for reason in change.reasons]
    text = canonical_json([change.verb, reasons, change.download_bytes, nodes])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(path: str, plan: Plan, files: Sequence[str], options: Options, store_revision: int, *, locked: bool) -> None:
    """Save a plan. Raises UsageError where the file cannot be written."""
    found = decisions(plan)
    value = {
        "formatVersion": FORMAT_VERSION,
        "version": __version__,
        "files": [os.path.abspath(one) for one in files or filter(None, [workspace_above(os.getcwd())])],
        "environment": plan.environment,
        "options": {
            "prune": options.prune,
            "maxPrune": options.max_prune,
            "refresh": options.refresh,
            "adopt": options.adopt,
            "locked": locked,
        },
        "inputs": {one.path: one.sha256 for one in plan.inputs},
        "decisions": found,
        "fingerprint": _fingerprint(found),
        "plan": to_json(plan, store_revision=store_revision),
    }
    try:
        Path(path).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="name a file that can be written") from error


def read(path: str) -> SavedPlan:
    """Read a saved plan. Raises UsageError where it is none, or of another format."""
    try:
        value: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        if value["formatVersion"].partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
            raise UsageError(f"{path} has format {value['formatVersion']}; this nexusctl reads {FORMAT_VERSION}")
        if _fingerprint(value["decisions"]) != value["fingerprint"]:
            raise UsageError(f"{path} was edited; its fingerprint does not match")
        options = value["options"]
        refs = {one["ref"]: one["action"] for one in value["plan"]["actions"]}
        return SavedPlan(
            path=path,
            version=value["version"],
            files=tuple(value["files"]),
            environment=value["environment"],
            options=Options(
                prune=options["prune"],
                max_prune=options["maxPrune"],
                refresh=options["refresh"],
                adopt=options["adopt"],
            ),
            inputs=value["inputs"],
            decisions=value["decisions"],
            locked=options.get("locked", False),
            verbs=refs | {one["ref"]: Verb.BLOCKED.value for one in value["plan"]["blocked"]},
        )
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="nexusctl plan --out plan.json") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not a saved plan", hint="nexusctl plan --out plan.json") from error


def _fingerprint(found: Mapping[str, str]) -> str:
    return hashlib.sha256(canonical_json(dict(found)).encode()).hexdigest()

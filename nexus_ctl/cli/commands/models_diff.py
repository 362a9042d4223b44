"""`nexusctl models diff`: what moved between two lock files, what it downloads and what it replaces."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, stack_options

if TYPE_CHECKING:
    from nexus_ctl.resources.lock import Lock


@click.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="[NEW]", required=False)
@stack_options
@output_option("text", "json")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    old: str,
    new: str | None,
    files: tuple[str, ...],
    environment: str | None,
    output: str,
) -> int:
    """Tell what moved from the lock file OLD to NEW: bytes to download, deployments to replace.

    NEW is the stack's own lock when left out; - reads standard input, as in `git show HEAD:nexus.lock | nexusctl models
    diff -`. Exits 0 when both say the same, 1 when they differ.
    """
    from nexus_ctl.cli.inputs import readable_lock
    from nexus_ctl.planning.lock_diff import moves
    from nexus_ctl.views import lock as view

    stack = readable_lock(files, environment)
    with invocation.workspace(stack, invocation.command) as workspace:
        here = workspace.cache.digests()
    found = moves(_read(old), _read(new or stack.lock_path), stack, here)
    if output == "json":
        click.echo(json.dumps(view.moved_json(found), indent=2, ensure_ascii=False))
    else:
        click.echo(view.moved_text(found), nl=False)
    return 1 if found else 0


def _read(path: str) -> Lock:
    """Raises ManifestError with every fault, UsageError where there is no such file."""
    from nexus_ctl.errors import Diagnostic, ManifestError, UsageError
    from nexus_ctl.manifest import lock as lockfile

    try:
        data = sys.stdin.read().encode() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="nexusctl models lock") from error
    faults: list[Diagnostic] = []
    found = lockfile.parse(data, "<stdin>" if path == "-" else path, path, faults.append)
    if faults:
        raise ManifestError(faults)
    return found.lock

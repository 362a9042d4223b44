"""After an apply: the lock file, where there is one, gets an entry for what was brought, and built, without one."""

from __future__ import annotations

import os

import click

from controllers.locking import with_new
from nexus_ctl.cli.invocation import Workspace
from nexus_ctl.manifest import lock as lockfile


def keep_up(workspace: Workspace) -> None:
    """Add what is missing, and say so on stderr. Entries that stand are left alone. Raises MachineError."""
    stack = workspace.stack
    new = with_new(workspace.session.world, stack) if stack.lock is not None else None
    if new is not None and stack.lock is not None and lockfile.write(stack.lock_path, new):
        old = {**stack.lock.models, **stack.lock.images}
        added = sorted(name for name, entry in {**new.models, **new.images}.items() if old.get(name) != entry)
        click.echo(f"{os.path.relpath(stack.lock_path)}: added {', '.join(added)}; review and commit it", err=True)

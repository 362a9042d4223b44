"""`nexusctl models lock`: write down which bytes the stack's models and images are."""

from __future__ import annotations

import os

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import lock_option, stack_options


@click.command("lock")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--upgrade", is_flag=True, help="Also move entries that stand to what their sources offer now.")
@click.option("--rebuilt", is_flag=True, help="Pin what was built as it is here; sources stay as they are pinned.")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when the lock would change.")
@stack_options
@lock_option
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    names: tuple[str, ...],
    upgrade: bool,
    rebuilt: bool,
    check: bool,
    files: tuple[str, ...],
    environment: str | None,
    lock_timeout: float,
) -> int:
    """Pin what models and images are, in nexus.lock beside the manifest.

    NAME is a Model, or an image as a Deployment names it; without one everything is pinned, and entries of what is no
    longer declared go. What is here is pinned as it is; what is not here as its source offers it now. Bytes are
    brought only where a source states no digest of them. Of what is built the inputs, the tool and the size are pinned
    at once, the digest as soon as it was built.
    """
    from controllers.locking import relocked
    from nexus_ctl.cli.inputs import readable_lock
    from nexus_ctl.cli.progress import told_plainly
    from nexus_ctl.manifest import lock as lockfile
    from nexus_ctl.resources.lock import Lock

    stack = readable_lock(files, environment)
    with invocation.workspace(stack, invocation.command) as workspace, workspace.lock(lock_timeout):
        tell = told_plainly(workspace.clock)
        world = workspace.session.world
        new = relocked(world, stack, frozenset(names), upgrade=upgrade, rebuilt=rebuilt, tell=tell)
    changed = lockfile.text(new) != lockfile.text(stack.lock or Lock()) or stack.lock is None
    if changed and not check:
        lockfile.write(stack.lock_path, new)
    word = ("would change" if check else "written") if changed else "unchanged"
    count = f"{len(new.models)} model{'' if len(new.models) == 1 else 's'}, "
    count += f"{len(new.images)} image{'' if len(new.images) == 1 else 's'}"
    click.echo(f"{os.path.relpath(stack.lock_path)} {word} ({count})")
    return 1 if changed and check else 0

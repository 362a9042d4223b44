"""`nexusctl logs`: the output of the replicas of an object, straight from the runtime."""

from __future__ import annotations

from threading import Lock

import click

from nexus_ctl.cli.invocation import Invocation


@click.command("logs")
@click.argument("what", metavar="KIND/NAME")
@click.option("-f", "--follow", is_flag=True, help="Go on until the replicas stop.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines of each replica.")
@click.option("--file", "files", multiple=True, metavar="PATH", help="Manifests; here only in the long form.")
@click.option("-e", "--environment", metavar="ENV", help="Lay this environment of the Stack over the base.")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    what: str,
    follow: bool,
    tail: int | None,
    files: tuple[str, ...],
    environment: str | None,
) -> None:
    """Print the output of replicas, oldest first.

    `logs deployment/chat`, `logs gateway`. With several replicas every line begins with the replica's name.
    """
    from concurrent.futures import ThreadPoolExecutor

    from nexus_ctl.cli.inputs import load_stack, no_such, ref_of
    from nexus_ctl.errors import UsageError
    from nexus_ctl.resources.envelope import Ref

    stack = load_stack(files, environment)
    ref = ref_of(what, stack)
    with invocation.workspace(stack, invocation.command) as workspace:
        world = workspace.session.world
        runtime = world.runtime_of(ref)
        owned = [(one, one.owner) for one in runtime.list() if one.owner is not None and one.owner.set == stack.name]
        names = [one.name for one, owner in owned if (owner.kind, owner.name) == (ref.kind, ref.name)]
        if not names:
            if ref in stack.resources:
                raise UsageError(f"{ref} has no replica", hint="nexusctl status", code="no-replica")
            raise no_such(ref, sorted({Ref(owner.kind, owner.name) for _, owner in owned}))
        lock = Lock()

        def show(name: str) -> None:
            prefix = f"[{name}] " if len(names) > 1 else ""
            for line in runtime.logs(name, tail=tail, follow=follow):
                with lock:
                    click.echo(prefix + world.redact(line))

        if not follow or len(names) == 1:
            for name in names:
                show(name)
            return
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(show, names))

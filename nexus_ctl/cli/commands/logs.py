"""`nexusctl logs`: the output of the replicas of an object, straight from the runtime."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation


@click.command("logs")
@click.argument("what", metavar="KIND/NAME")
@click.option("-f", "--follow", "going_on", is_flag=True, help="Go on, with new replicas too, until all have ended.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines of each replica.")
@click.option("--file", "files", multiple=True, metavar="PATH", help="Manifests; here only in the long form.")
@click.option("-e", "--environment", metavar="ENV", help="Lay this environment of the Stack over the base.")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    what: str,
    going_on: bool,
    tail: int | None,
    files: tuple[str, ...],
    environment: str | None,
) -> None:
    """Print the output of replicas, oldest first.

    `logs deployment/chat`, `logs gateway`. With several replicas, or once a new one takes over, every line begins with
    the replica's name.
    """
    from nexus_ctl.cli.following import follow
    from nexus_ctl.cli.inputs import load_stack, no_such, ref_of
    from nexus_ctl.errors import UsageError
    from nexus_ctl.resources.envelope import Ref
    from nexus_ctl.resources.replica import ObservedReplica

    stack = load_stack(files, environment)
    ref = ref_of(what, stack)
    with invocation.workspace(stack, invocation.command) as workspace:
        world = workspace.session.world
        runtime = world.runtime_of(ref)

        def owned() -> dict[Ref, list[ObservedReplica]]:
            found: dict[Ref, list[ObservedReplica]] = {}
            for one in runtime.list():
                if one.owner is not None and one.owner.set == stack.name:
                    found.setdefault(Ref(one.owner.kind, one.owner.name), []).append(one)
            return found

        here = owned()
        if ref not in here:
            if ref in stack.resources:
                raise UsageError(f"{ref} has no replica", hint="nexusctl status", code="no-replica")
            raise no_such(ref, sorted(here), stack)
        names = {one.name for one in here[ref]}
        if going_on:
            said = follow(runtime, lambda: owned().get(ref, []), tail, workspace.clock)
        else:
            said = ((one.name, line) for one in here[ref] for line in runtime.logs(one.name, tail=tail))
        for name, line in said:
            names.add(name)
            click.echo((f"[{name}] " if len(names) > 1 else "") + world.redact(line))

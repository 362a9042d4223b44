"""`nexusctl rollback`: one object back to an earlier revision, by the one way that everything goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.manner import Manner, manner_options

if TYPE_CHECKING:
    from nexus_ctl.resources.envelope import Ref
    from nexus_ctl.store.records import Revision


@click.command("rollback")
@click.argument("what", metavar="KIND/NAME")
@click.option("--to-revision", type=click.IntRange(1), metavar="N", help="Default: the newest stable one before now.")
@manner_options
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    what: str,
    to_revision: int | None,
    files: tuple[str, ...],
    environment: str | None,
    manner: Manner,
) -> None:
    """Go back to an earlier revision of an object.

    Only that object is planned. The manifests stay as they are, so the next apply goes forward again: change them too.
    """
    from dataclasses import replace

    from controllers.looking import Options
    from nexus_ctl.cli.carry import carry
    from nexus_ctl.cli.inputs import load_stack, ref_of
    from nexus_ctl.resources.envelope import Metadata, Resource
    from nexus_ctl.resources.kinds import KINDS

    stack = load_stack(files, environment)
    ref = ref_of(what, stack)
    with invocation.workspace(stack, invocation.command) as workspace:
        stored = workspace.store.objects.get(stack.name, ref)
        target = _target(ref, workspace.store.history.revisions(stack.name, ref), to_revision)
        declared = stack.resources.get(ref)
        if declared is not None:
            metadata = declared.metadata
        elif stored is not None:
            metadata = Metadata(ref.name, stored.labels, stored.annotations)
        else:
            metadata = Metadata(ref.name)
        spec = KINDS[ref.kind].spec.model_validate(dict(target.spec), by_alias=True, by_name=False)
        earlier = replace(stack, resources={**stack.resources, ref: Resource(ref.kind, metadata, spec)})
        carry(
            invocation,
            workspace,
            earlier,
            Options(only=frozenset({ref}), retry=frozenset({ref})),
            manner,
            asked_for=(ref,),
        )
    if declared is not None and declared.normalised != dict(target.spec) and not manner.dry_run:
        where = stack.locations.get(ref)
        click.echo(f"{where.file if where else 'the manifest'} still declares another spec; the next apply goes back "
                   f"to that", err=True)  # fmt: skip


def _target(ref: Ref, revisions: Sequence[Revision], number: int | None) -> Revision:
    """The revision asked for, else the newest stable one before the present, else the one before it."""
    from nexus_ctl.errors import UsageError

    if not revisions:
        raise UsageError(f"{ref} has no history", hint="nexusctl get all", code="unknown-object")
    if number is not None:
        found = next((one for one in revisions if one.number == number), None)
        if found is None:
            known = ", ".join(str(one.number) for one in revisions)
            hint = f"nexusctl history {ref.kind.lower()}/{ref.name}"
            raise UsageError(f"{ref} has no revision {number}; it has {known}", hint=hint, code="unknown-revision")
        return found
    earlier = revisions[:-1]
    if not earlier:
        raise UsageError(f"{ref} has one revision; there is nothing to go back to", code="unknown-revision")
    return next((one for one in reversed(earlier) if one.stable), earlier[-1])

"""`nexusctl models rate`: what a person thinks of a model, kept beside the stack's history."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, stack_options
from nexus_ctl.cli.printing import print_value

NOTE_CHARACTERS = 2000


@click.command("rate")
@click.argument("model", metavar="NAME|hf:OWNER/NAME")
@click.argument("stars", type=click.IntRange(1, 5), metavar="1..5")
@click.option("--note", default="", metavar="TEXT", help="Why: what it is good or bad at.")
@stack_options
@output_option("text", "json")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    model: str,
    stars: int,
    note: str,
    files: tuple[str, ...],
    environment: str | None,
    output: str,
) -> None:
    """Rate a model, with a note if you like.

    One rating per person and model; a new one takes the place of the old. `models show` and `models list` show them.
    """
    from nexus_ctl.cli.inputs import load_stack
    from nexus_ctl.cli.model_target import FileTarget, target_of
    from nexus_ctl.errors import UsageError
    from nexus_ctl.resources.foreign_text import line
    from nexus_ctl.views.model_use import ratings_json

    stack = load_stack(files, environment)
    target = target_of(model, stack)
    if isinstance(target, FileTarget):
        raise UsageError("a file has no name to rate it under", hint="declare a Model for it, and rate that")
    if len(note) > NOTE_CHARACTERS:
        raise UsageError(f"the note has {len(note)} characters; {NOTE_CHARACTERS} are kept")
    with invocation.workspace(stack, invocation.command) as workspace:
        kept = line(note, NOTE_CHARACTERS)
        rated = workspace.store.ratings.rate(stack.name, target.subject, workspace.actor, stars, kept)
    if output == "json":
        print_value(ratings_json([rated])[0], output)
    else:
        click.echo(f"{rated.subject} {rated.stars} of 5 by {rated.actor}")

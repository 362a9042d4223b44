"""`nexusctl models search`: models of the hub by words, with what the hub says of them."""

from __future__ import annotations

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import output_option, refresh_option, stack_options

SORTS = ("downloads", "likes", "trending", "updated", "created")


@click.command("search")
@click.argument("words", nargs=-1)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="So many at most.")
@click.option("--sort", type=click.Choice(SORTS), default="downloads", show_default=True, help="Largest first.")
@click.option(
    "--gguf-only", is_flag=True, help="Only repositories with GGUF files, which llama.cpp serves as they are."
)
@click.option("--author", metavar="NAME", default="", help="Only of this user or organisation.")
@click.option("--task", metavar="TASK", default="", help="Only for this task: text-generation, feature-extraction, …")
@refresh_option
@stack_options
@output_option("table", "json", "yaml", "name")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    words: tuple[str, ...],
    limit: int,
    sort: str,
    gguf_only: bool,
    author: str,
    task: str,
    refresh: bool,
    files: tuple[str, ...],
    environment: str | None,
    output: str,
) -> None:
    """Search the Hugging Face hub, or the mirror that HF_ENDPOINT names.

    Answers are remembered: without a network, or with HF_HUB_OFFLINE=1, the last one is shown with its age.
    """
    from nexus_ctl.artifacts.hub.catalog import Query
    from nexus_ctl.cli.inputs import empty_stack, stack_if_any
    from nexus_ctl.cli.printing import print_value
    from nexus_ctl.views import found_models as view
    from nexus_ctl.views.freshness import as_of

    stack = stack_if_any(files, environment) or empty_stack()
    with invocation.workspace(stack, invocation.command) as workspace:
        query = Query(words, limit, sort, gguf_only, author, task)
        found = workspace.catalog.search(query, refresh=refresh)
        now = workspace.clock.now()
    if output in ("json", "yaml"):
        print_value(view.to_json(found), output)
    elif output == "name":
        click.echo(view.names(found), nl=False)
    elif found.models:
        click.echo(view.text(found), nl=False)
    else:
        click.echo("nothing found", err=True)
    click.echo(as_of(found.fresh, now), err=True)

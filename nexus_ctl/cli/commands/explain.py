"""`nexusctl explain`: what a field means, its type and default, and what a change of it does."""

from __future__ import annotations

import click


@click.command("explain")
@click.argument("path", metavar="KIND[.FIELD ...]", required=False)
@click.option("--recursive", is_flag=True, help="The whole tree below.")
def command(path: str | None, recursive: bool) -> None:
    """Say what a field means and what a change of it does.

    \b
    nexusctl explain                            the kinds
    nexusctl explain deployment.spec.engine     one field
    """
    from nexus_ctl.resources.kinds import KINDS
    from nexus_ctl.views.explain import explain
    from nexus_ctl.views.table import table

    if path is None:
        rows = [(row.name, row.plural, row.short, row.doc) for row in KINDS.values()]
        click.echo(table(("KIND", "PLURAL", "SHORT", "MEANING"), rows), nl=False)
    else:
        click.echo(explain(path, recursive), nl=False)

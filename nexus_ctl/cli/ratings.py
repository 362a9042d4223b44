"""The ratings of a stack, for commands that show much else: a database that cannot be used costs them alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexus_ctl.errors import StoreError

if TYPE_CHECKING:
    from nexus_ctl.cli.invocation import Workspace
    from nexus_ctl.resources.catalog import Rating


def ratings_of(workspace: Workspace) -> tuple[Rating, ...]:
    """Newest first; none, with a warning, where the state database cannot be used."""
    try:
        return workspace.store.ratings.all(workspace.stack.name)
    except StoreError as error:
        click.echo(f"warning: ratings are not shown: {error.detail}", err=True)
        return ()

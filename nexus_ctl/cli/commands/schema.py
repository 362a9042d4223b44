"""`nexusctl schema`: the JSON Schemas (draft-07) that editors and other checkers read."""

from __future__ import annotations

import click


@click.command("schema")
@click.argument("kind", required=False)
@click.option("--out", metavar="DIR", help="Write every schema into this folder.")
def command(kind: str | None, out: str | None) -> None:
    """Print or write the JSON Schemas for editors.

    Without a KIND the one for any document, which is what a modeline names.
    """
    from nexus_ctl.cli.inputs import declared_kind
    from nexus_ctl.errors import UsageError
    from nexus_ctl.manifest.json_schema import schemas, text_of, write_schemas

    if out is not None:
        if kind is not None:
            raise UsageError("--out writes every schema", hint="leave the kind out")
        try:
            written = write_schemas(out)
        except OSError as error:
            raise UsageError(f"{out}: {error.strerror}", hint="name a folder that can be written to") from error
        click.echo("".join(f"{out.rstrip('/')}/{name}\n" for name in written), nl=False)
        return
    name = "nexus" if kind is None else declared_kind(kind).lower()
    click.echo(text_of(schemas()[f"{name}.json"]), nl=False)

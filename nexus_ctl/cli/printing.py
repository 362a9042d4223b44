"""Values → stdout, as the forms that programs read."""

from __future__ import annotations

import click


def print_value(value: object, form: str) -> None:
    """Print as `json` or `yaml`."""
    if form == "json":
        import json

        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)

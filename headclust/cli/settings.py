"""The command `settings`."""

from __future__ import annotations

import json

import click

from headclust.cli.options import json_option
from headclust.cli.printing import plain, table


@click.command()
@click.argument("method")
@json_option("Print a list of objects.")
def settings(method: str, as_json: bool) -> None:
    """List the settings of METHOD: values in its presets, and what they mean."""
    from headclust import verbs

    rows = verbs.settings(method)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        table(tuple(rows[0]), [[plain(value) for value in row.values()] for row in rows])

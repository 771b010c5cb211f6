"""The command `settings`."""

from __future__ import annotations

import click

from headclust.cli.completion import complete_method
from headclust.cli.options import json_option
from headclust.cli.printing import plain, print_json, table


@click.command()
@click.argument("method", required=False, shell_complete=complete_method)
@json_option("Print a list of objects.")
def settings(method: str | None, as_json: bool) -> None:
    """List the settings of METHOD: values in its presets, and what they mean. Without METHOD, list the methods."""
    from headclust import verbs

    rows = verbs.settings(method)
    if as_json:
        print_json(rows)
    elif method is None:
        table(tuple(rows[0]), [[plain(value) for value in row.values()] for row in rows], one_line=True)
    else:
        table(tuple(rows[0]), [[plain(value) for value in row.values()] for row in rows])

"""The command `info`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headclust.cli.options import PATH, json_option
from headclust.cli.printing import plain, table


@click.command()
@click.argument("path", type=PATH, metavar="FILE|RUN")
@json_option()
def info(path: Path, as_json: bool) -> None:
    """Show what a feature file or a run folder records."""
    from headclust import verbs

    contents = verbs.info(path)
    if as_json:
        click.echo(json.dumps(contents, indent=2))
    else:
        table(("item", "value"), [[name, plain(value)] for name, value in contents.items() if name != "skipped"])

"""The command `info`."""

from __future__ import annotations

from pathlib import Path

import click

from headclust.cli.options import PATH, json_option
from headclust.cli.printing import flat, print_json, table


@click.command()
@click.argument("path", type=PATH, metavar="FILE|RUN")
@json_option()
def info(path: Path, as_json: bool) -> None:
    """Show what a feature file or a run folder records."""
    from headclust import verbs

    contents = verbs.info(path)
    if as_json:
        print_json(contents)
    else:
        table(("item", "value"), flat(contents))

"""The command that takes groups elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headclust.cli.printing import PATH
from headclust.errors import SettingError

# Written down, as loading the verb would make --help slow; a test holds it against the verb.
_FORMATS = ("csv", "parquet", "folders", "fiftyone", "coco")


@click.command()
@click.argument("run", type=PATH)
@click.option("--to", required=True, type=click.Choice(_FORMATS), help="What to make.")
@click.option("--predicted", metavar="NAME", help="Export RUN/predicted/NAME.csv, or such a file elsewhere.")
@click.option(
    "--features", type=PATH, metavar="FILE", help="Feature file of these images, if the run no longer finds it."
)
@click.option("--names", type=PATH, metavar="FILE", help="CSV file cluster,name: names for clusters.")
@click.option("--copy", is_flag=True, help="In folders, copy the images instead of linking to them.")
@click.option("--move", is_flag=True, help="Into folders, move the images themselves.")
@click.option("-o", "--output", type=PATH, metavar="PATH", help="What to make. [default: under exports/]")
@click.option("--overwrite", is_flag=True, help="Replace a file; folders are never replaced.")
def export(run: Path, copy: bool, move: bool, **options: Any) -> None:
    """Write the groups of RUN for other tools: tables, folders, FiftyOne, COCO."""
    from headclust import verbs

    if copy and move:
        raise SettingError("--copy and --move: say one of them.")
    click.echo(verbs.export(run, how="copy" if copy else "move" if move else "link", **options))

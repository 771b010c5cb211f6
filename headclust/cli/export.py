"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from headclust.choices import Duplicates, ExportFormat, Transfer
from headclust.cli.options import LEVEL, PATH, json_option
from headclust.cli.printing import print_path
from headclust.errors import SettingError


@click.command()
@click.argument("run", type=PATH)
@click.option("--to", required=True, type=click.Choice(get_args(ExportFormat)), help="What to make.")
@click.option("--predicted", metavar="NAME", help="Export RUN/predicted/NAME.csv; or the path of another such file.")
@click.option(
    "--features", type=PATH, metavar="FILE", help="Feature file of these images, if the run no longer finds it."
)
@click.option("--names", type=PATH, metavar="FILE", help="CSV file cluster,name: names for groups.")
@LEVEL
@click.option("--copy", is_flag=True, help="In folders, copy the images instead of linking to them.")
@click.option("--move", is_flag=True, help="Into folders, move the images themselves.")
@click.option(
    "--duplicates",
    type=click.Choice(get_args(Duplicates)),
    default="keep",
    show_default=True,
    help="In folders, copies of other images: in their group, not exported, or in a folder of their own.",
)
@click.option("--vectors", is_flag=True, help="In Parquet, add the features of the images.")
@click.option("--positions", is_flag=True, help="In CSV and Parquet, add the positions on the report's map.")
@click.option("-o", "--output", type=PATH, metavar="PATH", help="What to make. [default: under exports/]")
@click.option("--overwrite", is_flag=True, help="Replace a file; folders are never replaced.")
@json_option("Print one object: the path of what was made.")
def export(
    run: Path,
    to: ExportFormat,
    predicted: str | None,
    features: Path | None,
    names: Path | None,
    level: int | None,
    copy: bool,
    move: bool,
    duplicates: Duplicates,
    vectors: bool,
    positions: bool,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the groups of RUN for other tools: tables, folders, FiftyOne, COCO."""
    from headclust import verbs

    if copy and move:
        raise SettingError("--copy and --move: give only one of them.")
    how: Transfer = "copy" if copy else "move" if move else "link"
    path = verbs.export(
        run,
        to=to,
        output=output,
        predicted=predicted,
        features=features,
        names=names,
        level=level,
        how=how,
        duplicates=duplicates,
        vectors=vectors,
        positions=positions,
        overwrite=overwrite,
    )
    print_path(path, as_json=as_json)

"""The command `report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click

from headclust.cli.browser import has_screen
from headclust.cli.options import DEVICE, LEVEL, PATH, json_option
from headclust.cli.printing import print_path


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--features", multiple=True, type=PATH, metavar="FILE", help="Use these features: the run's own, or others."
)
@LEVEL
@click.option("--labels", is_flag=True, help="Compare the clusters with the labels of the features, and name them so.")
@click.option(
    "--thumbnails",
    type=click.IntRange(min=0),
    default=20_000,
    show_default=True,
    metavar="N",
    help="Images to put small copies of into the file; fewer make it smaller.",
)
@click.option("--umap/--no-umap", default=True, show_default=True, help="Add a UMAP layout of the map, if installed.")
@click.option("--device", help=DEVICE)
@click.option("-o", "--output", type=PATH, metavar="HTML", help="File to write. [default: RUN/report.html]")
@json_option("Print one object: the path of the file.")
@click.option(
    "--open",
    "open_it",
    type=click.Choice(["yes", "no"]),
    help="Show it in the browser. [default: yes on a terminal with a screen]",
)
def report(
    run: Path,
    features: Sequence[Path],
    level: int | None,
    labels: bool,
    thumbnails: int,
    umap: bool,
    device: str | None,
    output: Path | None,
    open_it: Literal["yes", "no"] | None,
    as_json: bool,
) -> None:
    """Make one HTML file that shows RUN: its clusters, their images, a map."""
    from headclust import verbs

    path = verbs.report(
        run,
        features=features,
        level=level,
        labels=labels,
        thumbnails=thumbnails,
        umap=umap,
        device=device,
        output=output,
    )
    print_path(path, as_json=as_json)
    if open_it == "yes" or (open_it is None and has_screen()):
        import webbrowser

        webbrowser.open(path.resolve().as_uri())

"""The command `neighbors`."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from headclust.choices import NeighborSearch
from headclust.cli.options import DEVICE, PATH, json_option
from headclust.cli.printing import print_json
from headclust.progress import note


@click.command()
@click.argument("features", type=PATH)
@click.option(
    "-k",
    "--neighbors",
    "n_neighbors",
    type=click.IntRange(1),
    required=True,
    metavar="K",
    help="Neighbors per image: n_neighbors of the fit, see `headclust settings METHOD`.",
)
@click.option(
    "--shard", metavar="I/N", help="Search part I of N. [default: of torchrun or a SLURM array, else everything]"
)
@click.option(
    "--search",
    type=click.Choice(get_args(NeighborSearch)),
    default="exact",
    show_default=True,
    help="ivf and cuvs are approximate; auto is what a fit does.",
)
@click.option("--device", help=DEVICE)
@json_option()
def neighbors(
    features: Path, n_neighbors: int, shard: str | None, search: NeighborSearch, device: str | None, as_json: bool
) -> None:
    """Search the nearest neighbors in FEATURES for later fits, by one process or by several."""
    from headclust import verbs

    result = verbs.neighbors(features, n_neighbors=n_neighbors, shard=shard, search=search, device=device)
    if as_json:
        print_json(result)
        return
    click.echo(result["path"])
    if missing := result.get("missing"):
        shown = ", ".join(missing[:9]) + (" ..." if len(missing) > 9 else "")
        note(f"shard {result['shard']} is there, {len(missing)} are missing: {shown}. The last one joins them.")

"""The command `name`."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from headclust.choices import NameSource
from headclust.cli.options import DEVICE, PATH, json_option
from headclust.cli.printing import print_json, table
from headclust.progress import percent


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--from",
    "source",
    type=click.Choice(get_args(NameSource)),
    help="Source of the words: the classifier of a packaged backbone, the text tower of an image-text model, the words "
    "in the paths of the images. [default: by what there is]",
)
@click.option("-m", "--model", help="Packaged backbone, or open_clip:ARCH/PRETRAINED. [default: that of the features]")
@click.option("--weights", type=PATH, metavar="FILE", help="File with the weights of an image-text model.")
@click.option("--vocabulary", type=PATH, metavar="FILE", help="The only words to use, one per line.")
@click.option("--features", type=PATH, metavar="FILE", help="Feature file of the run, if the run no longer finds it.")
@click.option("--level", type=click.IntRange(1), metavar="N", help="List the names of N groups.")
@click.option("--device", help=DEVICE)
@click.option("--offline", is_flag=True, help="Never download weights.")
@click.option("-o", "--output", type=PATH, metavar="CSV", help="Also write a table cluster,name for export --names.")
@click.option("--overwrite", is_flag=True, help="Replace that table.")
@json_option("Print one object: the source, and each group with its name and further words.")
def name(
    run: Path,
    source: NameSource | None,
    model: str | None,
    weights: Path | None,
    vocabulary: Path | None,
    features: Path | None,
    level: int | None,
    device: str | None,
    offline: bool,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Propose a name for each group of RUN, which reports and exports then show.

    Groups do not change. A group that no word describes well has no name.
    """
    from headclust import verbs

    named = verbs.name(
        run,
        source=source,
        model=model,
        weights=weights,
        vocabulary=vocabulary,
        features=features,
        level=level,
        device=device,
        offline=offline,
        output=output,
        overwrite=overwrite,
    )
    if as_json:
        print_json(named)
        return
    rows = [
        (
            str(group.group),
            f"{group.images:,}",
            group.name or "-",
            "-" if group.score is None else percent(group.score),
            ", ".join(group.alternatives) or "-",
        )
        for group in named.groups
    ]
    table(("group", "images", "name", "share", "or"), rows)

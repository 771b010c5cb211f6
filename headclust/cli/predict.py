"""The command `predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click

from headclust.choices import OnError
from headclust.cli.completion import complete_path
from headclust.cli.options import DEVICE, EXCLUDE, LEVEL, PATH, json_option, max_pixels_option
from headclust.cli.printing import print_path


@click.command()
@click.argument("run", type=PATH)
@click.option("--features", multiple=True, type=PATH, metavar="FILE", help="Features of the images to assign.")
@click.option(
    "--data",
    metavar="SOURCE",
    help="Images to embed like those of the run, and assign; or one image.",
    shell_complete=complete_path,
)
@click.option("--split", help="The split of --data.")
@EXCLUDE
@click.option("--weights", type=PATH, help="File with the model's weights, if the run's features were made with one.")
@click.option(
    "--on-error",
    type=click.Choice(get_args(OnError)),
    default="fail",
    show_default=True,
    help="At an unreadable image of --data.",
)
@max_pixels_option
@LEVEL
@click.option("--device", help=DEVICE)
@click.option("--offline", is_flag=True, help="Never download weights.")
@click.option("-o", "--output", type=PATH, metavar="CSV", help="File to write. [default: RUN/predicted/NAME.csv]")
@json_option("Print one object: the path of the file.")
def predict(
    run: Path,
    features: Sequence[Path],
    data: str | None,
    split: str | None,
    exclude: Sequence[str],
    weights: Path | None,
    on_error: OnError,
    max_pixels: int | None,
    level: int | None,
    device: str | None,
    offline: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Assign the clusters of RUN to other images, and measure their distance from the fitted ones."""
    from headclust import verbs

    path = verbs.predict(
        run,
        features=features,
        data=data,
        split=split,
        exclude=exclude,
        weights=weights,
        on_error=on_error,
        max_pixels=max_pixels,
        level=level,
        device=device,
        offline=offline,
        output=output,
    )
    print_path(path, as_json=as_json)

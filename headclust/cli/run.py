"""The command `run`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click

from headclust.choices import Labels, OnError
from headclust.cli.completion import complete_method, complete_model, complete_path
from headclust.cli.options import DEVICE, EXCLUDE, PATH, json_option, labels_option, max_pixels_option
from headclust.cli.printing import print_json, print_metrics


@click.command()
@click.argument("data", metavar="FOLDER", shell_complete=complete_path)
@click.option(
    "-k",
    "--clusters",
    type=click.IntRange(1),
    metavar="K",
    help="Number of groups. [default: the labeled classes, else the finer end of what `headclust suggest` finds]",
)
@click.option("--split", help="The split, where FOLDER has several.")
@EXCLUDE
@labels_option("dataset")
@click.option("-o", "--output", type=PATH, metavar="DIR", help="Folder for everything. [default: NAME-groups]")
@click.option(
    "-m",
    "--model",
    help="Backbone: see `headclust models`. [default: the best of the packaged ones]",
    shell_complete=complete_model,
)
@click.option("--weights", type=PATH, help="File with the model's weights (.safetensors, .pth).")
@click.option(
    "--views",
    type=click.IntRange(0),
    metavar="N",
    help="Augmented views per image, which the default method learns from. [default: 2; none above 20,000 images]",
)
@click.option(
    "--method",
    default="default",
    show_default=True,
    help="Method, as in `headclust fit`.",
    shell_complete=complete_method,
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the fit.")
@click.option(
    "--on-error",
    type=click.Choice(get_args(OnError)),
    default="skip",
    show_default=True,
    help="At an unreadable image: stop, or leave it out and list it.",
)
@max_pixels_option
@click.option("--device", help=DEVICE)
@click.option("--offline", is_flag=True, help="Never download weights or data.")
@click.option("--overwrite", is_flag=True, help="Replace results made with other settings.")
@json_option("Print one object: paths of the results, and metrics.json.")
def run(
    data: str,
    clusters: int | None,
    split: str | None,
    exclude: Sequence[str],
    labels: Labels,
    output: Path | None,
    model: str | None,
    weights: Path | None,
    views: int | None,
    method: str,
    seed: int,
    on_error: OnError,
    max_pixels: int | None,
    device: str | None,
    offline: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Group the images in FOLDER: embed, fit and report. The same command again resumes where it was stopped.

    FOLDER is a folder of images, or any other SOURCE that `headclust embed` takes.
    """
    from headclust import verbs

    groups = verbs.run(
        data,
        clusters=clusters,
        split=split,
        exclude=exclude,
        labels=labels,
        output=output,
        model=model,
        weights=weights,
        views=views,
        method=method,
        seed=seed,
        on_error=on_error,
        max_pixels=max_pixels,
        device=device,
        offline=offline,
        overwrite=overwrite,
    )
    metrics = json.loads((groups.run / "metrics.json").read_text(encoding="utf-8"))
    if as_json:
        print_json({**dataclasses.asdict(groups), "assignments": groups.assignments, "metrics": metrics})
        return
    print_metrics(metrics, as_json=False)
    if groups.left_out:
        count = "1 image" if groups.n_left_out == 1 else f"{groups.n_left_out} images"
        if groups.n_folders_left_out:
            count += (
                f" and {groups.n_folders_left_out} whole {'folder' if groups.n_folders_left_out == 1 else 'folders'}"
            )
        click.echo(f"Left out, as unreadable: {count}, listed in {groups.left_out}")
    if groups.suggestion:
        click.echo(f"Other numbers of groups: {groups.suggestion}")
    click.echo(f"Report: {groups.report}")
    click.echo(f"Which image is in which group: {groups.assignments}")
    click.echo(f"Run folder: {groups.run}")

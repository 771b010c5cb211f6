"""The command that goes from a folder of images to groups and a report."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from headclust.cli.printing import PATH, print_metrics


@click.command()
@click.argument("data", metavar="FOLDER")
@click.option(
    "--clusters", type=click.IntRange(1), metavar="K", help="Number of groups. [default: the class subfolders]"
)
@click.option("--split", help="Which split, where FOLDER has some.")
@click.option("-o", "--output", type=PATH, metavar="DIR", help="Folder for everything. [default: NAME-groups]")
@click.option("--model", help="Backbone: see `headclust models`. [default: the best of the packaged ones]")
@click.option("--weights", type=PATH, help="File with the model's weights (.safetensors, .pth).")
@click.option(
    "--views",
    type=click.IntRange(0),
    metavar="N",
    help="Augmented views an image, which the default method learns from. [default: 2; none above 20,000 images]",
)
@click.option("--method", default="default", show_default=True, help="As `headclust fit` has it.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the fit.")
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="skip",
    show_default=True,
    help="At an unreadable image: stop, or leave it out and list it.",
)
@click.option("--device", help="cpu, cuda, cuda:N or mps. [default: the best there is]")
@click.option("--offline", is_flag=True, help="Never download weights or data.")
@click.option("--overwrite", is_flag=True, help="Make anew what was made with other settings.")
@click.option("--json", "as_json", is_flag=True, help="Print one object: where things are, and metrics.json.")
def run(data: str, as_json: bool, **options: Any) -> None:
    """Group the images in FOLDER: embed, fit and report. The same command again goes on where it was stopped.

    FOLDER is a folder of images, or any other SOURCE that `headclust embed` takes.
    """
    from headclust import verbs

    made = verbs.run(data, **options)
    metrics = json.loads((made.run / "metrics.json").read_text(encoding="utf-8"))
    if as_json:
        places = {name: str(value) if isinstance(value, Path) else value for name, value in _fields(made).items()}
        click.echo(json.dumps({**places, "assignments": str(made.assignments), "metrics": metrics}, indent=2))
        return
    print_metrics(metrics, as_json=False)
    if made.left_out:
        count = "1 image" if made.n_left_out == 1 else f"{made.n_left_out} images"
        click.echo(f"Left out, as unreadable: {count}, listed in {made.left_out}")
    click.echo(f"Report: {made.report}")
    click.echo(f"Which image is in which group: {made.assignments}")
    click.echo(f"Run folder: {made.run}")


def _fields(made: Any) -> dict[str, Any]:
    return {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}

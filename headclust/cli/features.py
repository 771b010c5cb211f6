"""Commands of stage 1: from images, or from an array, to a feature file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headclust.cli.printing import PATH, plain, table

if TYPE_CHECKING:
    from headclust.embedding.estimate import Estimate


_MODELS_NOTE = "Besides these: any timm:NAME or open_clip:ARCH/PRETRAINED, as those libraries write them."


@click.command()
@click.argument("pattern", required=False)
@click.option("--at-hand", is_flag=True, help="Only those whose weights are on this machine.")
@click.option("--text/--no-text", default=None, help="Only those trained with text, or without.")
@click.option(
    "--labels/--no-labels", default=None, help="Only those trained with ImageNet's labels, or without any of them."
)
@click.option(
    "--max-parameters", type=click.IntRange(1), metavar="N", help="Only those of at most N parameters (no classifier)."
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def models(pattern: str | None, at_hand: bool, text: bool | None, labels: bool | None, **options: Any) -> None:
    """List the backbones whose name fits PATTERN (all of them unless given), for example 'dino*'."""
    from headclust.backbones import list_backbones

    as_json = options.pop("as_json")
    listed = list_backbones(
        pattern=pattern, at_hand=at_hand or None, text_supervised=text, imagenet_labels=labels, **options
    )
    if as_json:
        click.echo(json.dumps(listed, indent=2))
        return
    if not listed:
        click.echo(f"No such backbone. {_MODELS_NOTE}")
        return
    columns = {"name": "name", "dim": "dim", "input_size": "px", "parameters": "parameters", "text_supervised": "text"}
    columns |= {"imagenet_labels": "labels", "weights_at_hand": "at hand", "license": "license"}
    columns |= {"feature_point": "feature point"}
    for row in listed:
        row["parameters"] = f"{row['parameters'] / 1e6:.1f} M"
    table(tuple(columns.values()), [[plain(row[name]) for name in columns] for row in listed])
    click.echo(f"Where the weights are from: --json. {_MODELS_NOTE}")


@click.command()
@click.option(
    "--model", required=True, help="Backbone: see `headclust models`; or timm:NAME, open_clip:ARCH/PRETRAINED."
)
@click.option(
    "--data",
    metavar="SOURCE",
    help="Folder of images, archive (.tar, .zip, ...), list (.csv, .tsv, .parquet), NAME:PATH (cifar10, cifar100, "
    "cifar20, stl10, imagenet, fashion-mnist, webdataset, hf) or digits. [default: digits]",
)
@click.option("--split", help="Which split, where the source has some. [default: train for named sources]")
@click.option("--classes", type=PATH, metavar="FILE", help="Keep only the classes named in this file, one a line.")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Take a random subset of N images, drawn without labels."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Of the subset and of the views.",
)
@click.option("-o", "--output", type=PATH, help="Feature file to make. [default: features/DATASET-SPLIT/MODEL.h5]")
@click.option("--weights", type=PATH, help="File with the model's weights (.safetensors, .pth).")
@click.option(
    "--preset",
    type=click.Choice(["temi-paper"]),
    help="Preprocessing and feature points as in TEMI's experiments, instead of the model's own.",
)
@click.option("--image-size", type=click.IntRange(1), metavar="PX", help="Input size instead of the model's own.")
@click.option(
    "--views",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Augmented views an image, besides.",
)
@click.option(
    "--augmentation",
    type=click.Choice(["standard", "strong"]),
    default="standard",
    show_default=True,
    help="Of the views: crop, flip, color jitter, gray; or SCAN's strong set.",
)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Images a batch.")
@click.option(
    "--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True, help="As stored."
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32"]),
    default="auto",
    show_default=True,
    help="Of the computation; auto is float32 on the CPU, float16 autocast on CUDA and MPS.",
)
@click.option("--device", help="cpu, cuda, cuda:N or mps. [default: the best there is]")
@click.option(
    "--on-error", type=click.Choice(["fail", "skip"]), default="fail", show_default=True, help="At an unreadable image."
)
@click.option(
    "--max-bad",
    type=click.IntRange(0),
    metavar="N",
    help="With skip: stop at more unreadable images. [default: no limit]",
)
@click.option(
    "--timeout", type=float, default=60.0, show_default=True, metavar="S", help="Seconds an image may take to be read."
)
@click.option("--offline", is_flag=True, help="Never download weights or data.")
@click.option("--dry-run", is_flag=True, help="Say what it would take, and write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace a file made with other settings.")
def embed(dry_run: bool, **options: Any) -> None:
    """Embed images with a frozen backbone into a feature file. Resumes where it was stopped."""
    from headclust import verbs

    if not dry_run:
        click.echo(verbs.embed(options.pop("model"), options.pop("data"), **options))
        return
    model = options.pop("model")
    path, estimate = verbs.estimate_embedding(model, options.pop("data"), **options)
    table(("what", "estimate"), _estimate_rows(_where(model, options["weights"]), path, estimate))


@click.command(name="import")
@click.argument("array", type=PATH)
@click.option("--ids", type=PATH, help="Text file with a sample id a line. [default: row numbers]")
@click.option("--labels", type=PATH, help=".npy or text file with a whole number a row, -1 = unknown.")
@click.option("--dataset", help="Name of the data. [default: the array's file name]")
@click.option("--backbone", default="imported", show_default=True, help="Name of what made the embeddings.")
@click.option("-o", "--output", type=PATH, help="Feature file to make. [default: features/DATASET-all/BACKBONE.h5]")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def import_(array: Path, **options: Any) -> None:
    """Make a feature file of embeddings made elsewhere: ARRAY is a .npy file (n_samples, feature_dim)."""
    from headclust import verbs

    click.echo(verbs.import_array(array, **options))


@click.command()
@click.argument("file", type=PATH)
def verify(file: Path) -> None:
    """Check that a feature file is as it was written; exit code 1 if it does not hold."""
    from headclust import verbs

    problems = verbs.verify(file)
    click.echo("\n".join(problems) or f"{file}: holds.")
    sys.exit(1 if problems else 0)


def _estimate_rows(weights: str, path: Path, estimate: Estimate) -> list[list[str]]:
    """What a dry run says."""
    memory = estimate.weight_bytes + estimate.pixel_bytes + estimate.activation_bytes
    disk = f"{_size(estimate.feature_bytes)}, {_size(estimate.peak_bytes)} while it is made"
    first = f"; {estimate.bad[0][0]}: {estimate.bad[0][1]}" if estimate.bad else ""
    slow = f"; {estimate.n_slow} took over 2 s, so the time is a lower bound" if estimate.n_slow else ""
    return [
        ["feature file", str(path)],
        ["images", f"{estimate.n_images:,}"],
        ["cannot be read", f"{len(estimate.bad)} of {estimate.n_sampled} tried{first}{slow}"],
        ["weights", f"{_size(estimate.weight_bytes)}, {weights}"],
        ["on disk", f"{disk} ({_size(estimate.free_bytes)} free)"],
        ["memory", f"about {_size(memory)}, besides Python and its libraries ({_size(estimate.memory_bytes)} free)"],
        ["time", f"about {_duration(estimate.seconds)}"],
        *(["problem", problem] for problem in estimate.problems),
    ]


def _where(model: str, weights: Path | None) -> str:
    """Where the weights of a model would come from."""
    from headclust.backbones import list_backbones

    if weights:
        return f"from {weights}"

    known = [row for row in list_backbones() if row["name"] == model]
    if not known:
        return "from the library's own source, unless they are on this machine"
    return "on this machine" if known[0]["weights_at_hand"] else f"to be fetched from {known[0]['source']}"


def _size(n_bytes: float) -> str:
    units = ["B", "kB", "MB", "GB", "TB"]
    while n_bytes >= 1000 and len(units) > 1:
        n_bytes, units = n_bytes / 1000, units[1:]
    return f"{n_bytes:.3g} {units[0]}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"

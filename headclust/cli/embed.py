"""The command `embed`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from headclust.choices import Labels, Launcher, Preprocessing
from headclust.cli.completion import complete_model, complete_path
from headclust.cli.options import EXCLUDE, PATH, embed_settings, json_option, labels_option
from headclust.cli.printing import print_features, print_json, table
from headclust.embedding import EmbedSettings
from headclust.shards import process_shard

if TYPE_CHECKING:
    from headclust.embedding.estimate import Estimate


@click.command()
@click.option(
    "-m",
    "--model",
    required=True,
    help="Backbone: see `headclust models`; or timm:NAME, open_clip:ARCH/PRETRAINED.",
    shell_complete=complete_model,
)
@click.option(
    "--data",
    metavar="SOURCE",
    shell_complete=complete_path,
    help="Folder of images, archive (.tar, .zip, ...), list (.csv, .tsv, .parquet), NAME:PATH (cifar10, cifar100, "
    "cifar20, stl10, imagenet, fashion-mnist, webdataset, hf) or digits. [default: digits]",
)
@click.option("--split", help="The split, where the source has several. [default: train for named sources]")
@click.option("--classes", type=PATH, metavar="FILE", help="Keep only the classes named in this file, one per line.")
@EXCLUDE
@labels_option("folders")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Take a random subset of N images, drawn without labels."
)
@click.option("-o", "--output", type=PATH, help="Feature file to make. [default: features/DATASET-SPLIT/MODEL.h5]")
@click.option("--weights", type=PATH, help="File with the model's weights (.safetensors, .pth).")
@click.option(
    "--preset",
    type=click.Choice(get_args(Preprocessing)),
    help="Preprocessing and feature points as in TEMI's experiments, instead of the model's own.",
)
@click.option("--image-size", type=click.IntRange(1), metavar="PX", help="Input size instead of the model's own.")
@embed_settings
@click.option("--offline", is_flag=True, help="Never download weights or data.")
@click.option("--dry-run", is_flag=True, help="Estimate what it takes, and write nothing.")
@click.option(
    "--shard",
    metavar="I/N",
    help="Embed part I of N only; the last part merges all. [default: as torchrun or a SLURM array sets it]",
)
@click.option("--shards", type=click.IntRange(1), metavar="N", help="Start N processes, one per shard, and merge.")
@click.option(
    "--on",
    type=click.Choice(get_args(Launcher)),
    help="Start them on this machine, or on a Ray cluster (RAY_ADDRESS). [default: local]",
)
@click.option("--merge", is_flag=True, help="Embed nothing; merge shards, all of which are complete.")
@click.option(
    "--keep-shards",
    is_flag=True,
    help="Merge to a folder with one file per shard, which is read like a file and needs less disk to make.",
)
@click.option(
    "--allow-unlike",
    is_flag=True,
    help="Allow shards of different devices, versions or numbers of threads, and record them.",
)
@json_option("Print one object: the path and contents of the file, or the estimate.")
def embed(
    model: str,
    data: str | None,
    split: str | None,
    classes: Path | None,
    exclude: Sequence[str],
    labels: Labels,
    limit: int | None,
    output: Path | None,
    weights: Path | None,
    preset: Preprocessing | None,
    image_size: int | None,
    settings: EmbedSettings,
    offline: bool,
    dry_run: bool,
    shard: str | None,
    shards: int | None,
    on: Launcher | None,
    merge: bool,
    keep_shards: bool,
    allow_unlike: bool,
    as_json: bool,
) -> None:
    """Embed images with a frozen backbone into a feature file. Resumes where it was stopped."""
    from headclust import verbs

    result = verbs.embed(
        model,
        data,
        split=split,
        classes=classes,
        exclude=exclude,
        labels=labels,
        limit=limit,
        output=output,
        weights=weights,
        preset=preset,
        image_size=image_size,
        settings=settings,
        offline=offline,
        dry_run=dry_run,
        # A command that is about all shards has none of its own, wherever it runs.
        shard=None if shard is None and (shards or on or merge or dry_run) else process_shard(shard),
        shards=shards,
        on=on,
        merge=merge,
        keep_shards=keep_shards,
        allow_unlike=allow_unlike,
    )
    if result is None:  # of a shard; its lines on stderr tell the rest
        return
    if isinstance(result, Path):
        print_features(result, as_json=as_json)
    elif as_json:
        print_json(result)
    else:
        table(("what", "estimate"), _estimate_rows(_weights_place(model, weights), result))


def _estimate_rows(weights: str, estimate: Estimate) -> list[list[str]]:
    """Rows of the table that a dry run prints: name and value."""
    memory = estimate.weight_bytes + estimate.pixel_bytes + estimate.activation_bytes
    disk = f"{_size(estimate.feature_bytes)}, {_size(estimate.peak_bytes)} while it is made"
    first = f"; {estimate.bad[0][0]}: {estimate.bad[0][1]}" if estimate.bad else ""
    slow = f"; {estimate.n_slow} took over 2 s, so the time is a lower bound" if estimate.n_slow else ""
    return [
        ["feature file", str(estimate.path)],
        ["images", f"{estimate.n_images:,}"],
        ["cannot be read", f"{len(estimate.bad)} of {estimate.n_sampled} tried{first}{slow}"],
        ["weights", f"{_size(estimate.weight_bytes)}, {weights}"],
        ["on disk", f"{disk} ({_size(estimate.free_bytes)} free)"],
        ["memory", f"about {_size(memory)}, besides Python and its libraries ({_size(estimate.memory_bytes)} free)"],
        ["time", f"about {_duration(estimate.seconds)}"],
        *(["problem", problem] for problem in estimate.problems),
    ]


def _weights_place(model: str, weights: Path | None) -> str:
    """Place of the weights of a model, in words."""
    from headclust import verbs

    if weights:
        return f"from {weights}"
    rows = [row for row in verbs.models() if row["name"] == model]
    if not rows:
        return "from the library's own source, unless they are on this machine"
    return "on this machine" if rows[0]["weights_at_hand"] else f"to be downloaded from {rows[0]['source']}"


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

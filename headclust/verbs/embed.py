"""The verb `embed`: a feature file from images, or an estimate of its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headclust.backbones import check_memory, check_weights, find_entry, load_backbone, untrained_backbone
from headclust.choices import Labels, Launcher, Preprocessing
from headclust.device import resolve_device
from headclust.embedding import EmbedSettings
from headclust.embedding.embed import embed_images
from headclust.embedding.estimate import Estimate, estimate, weight_bytes
from headclust.embedding.parts import plan_of
from headclust.embedding.shards import embed_shard
from headclust.embedding.shards import merge as merge_shards
from headclust.errors import SettingError
from headclust.features import load_features
from headclust.features.sharded import begun_shards, is_merging
from headclust.images.datasets import describe_folders, open_source
from headclust.progress import note
from headclust.shards import Shard
from headclust.torchrun import local_device
from headclust.verbs.left_out import listed_in, warn_if_many
from headclust.verbs.places import features_path
from headclust.verbs.shard_launch import embed_shards

if TYPE_CHECKING:
    from headclust.images.datasets import ImageSet


def embed(
    model: str,
    data: str | None = None,
    *,
    split: str | None = None,
    classes: Path | None = None,
    exclude: Sequence[str] = (),
    labels: Labels = "folders",
    limit: int | None = None,
    output: Path | None = None,
    weights: Path | None = None,
    preset: Preprocessing | None = None,
    image_size: int | None = None,
    settings: EmbedSettings | None = None,
    offline: bool = False,
    dry_run: bool = False,
    shard: Shard | None = None,
    shards: int | None = None,
    on: Launcher | None = None,
    merge: bool = False,
    keep_shards: bool = False,
    allow_unlike: bool = False,
) -> Path | Estimate | None:
    """Embed images with a frozen backbone into a feature file.

    Returns:
        The path of the file; the estimate of a dry run; None after a shard, while others are not complete.

    Args:
        model: A backbone's name, `timm:NAME` or `open_clip:ARCH/PRETRAINED`.
        data: Source of the images, as for `headclust.images.datasets.open_source`; the bundled digits when None.
        split: The split, if the source has several.
        classes: A file with the names of the classes to keep, one per line.
        exclude: Patterns of files and folders to leave out, as for `open_source`.
        labels: What becomes labels: "folders" for class subfolders too, "dataset" for the labels of a named data set,
            a list or shards, "none".
        limit: Size of a random subset of the images, drawn without labels; all images when None.
        output: The file to make; `features/DATASET-SPLIT/MODEL[-VARIANT].h5` when None.
        weights: A file with the model's weights.
        preset: A paper's preprocessing and feature points, instead of the model's own.
        image_size: Input size in pixels, instead of the model's own.
        settings: How to embed; the defaults of EmbedSettings when None.
        offline: Never download weights or data.
        dry_run: Estimate time, memory and disk; write and download nothing. The model is built without its weights,
            which change neither time nor memory.
        shard: Embed this part of the images only: other processes do the others, and the last one merges all.
        shards: Start this many processes, one per shard, and merge. By default with `on`: one per GPU, or per 4 cores.
        on: Where they are started: "local", on this machine (the default with `shards`), or "ray", on a Ray cluster.
        merge: Embed nothing, and merge the shards, all of which are complete.
        keep_shards: Merge to a folder with one file per shard and a manifest, which is read like a file. This needs
            disk for one more shard at a time, not for all.
        allow_unlike: Shards may be made on different devices, with different versions and numbers of threads, which the
            file then records.

    Raises:
        HeadclustError: The source, the model, the images or the output cannot be used.
    """
    settings = settings or EmbedSettings()
    launch = shards is not None or on is not None
    ways = {"--dry-run": dry_run, "--shard": shard is not None, "--shards or --on": launch, "--merge": merge}
    if sum(ways.values()) > 1:
        chosen = " and ".join(way for way, used in ways.items() if used)
        raise SettingError(f"{chosen} exclude each other: choose one.")
    if (keep_shards or allow_unlike) and (dry_run or not any(ways.values())):
        option = "--keep-shards" if keep_shards else "--allow-unlike"
        raise SettingError(f"{option} is about shards: give --shard, --shards or --merge too.")
    if dry_run and weights is not None:
        check_weights(weights)
    find_entry(model)  # raises for an unknown name before the data are opened
    if settings.device is not None:
        resolve_device(settings.device)
    if data is None:
        note("no data given: embedding the bundled digits.")
    images = open_source(data, split, classes=classes, exclude=exclude, labels=labels, offline=offline or dry_run)
    if images.class_folders and images.labels is not None:
        use = "are stored as labels, for scores only; --labels none leaves them out"
        note(f"{images.source}: its {describe_folders(images)} {use}.")
    if limit is not None:
        images = images.subset(limit, settings.seed)
    variant = _variant(settings, limit, weights, preset, image_size)
    path = output or features_path(images.dataset, images.split, f"{model}{variant}")
    if dry_run:
        untrained = partial(untrained_backbone, model, image_size=image_size, preset=preset, dataset=images.dataset)
        check_memory(model, weight_bytes(untrained(device="meta")))
        return estimate(images, untrained(), path, settings)
    if launch:
        arguments = dict[str, Any](
            model=model, data=data, split=split, classes=classes, exclude=[*exclude], labels=labels
        )
        arguments |= {"limit": limit, "weights": weights, "preset": preset, "image_size": image_size}
        arguments |= {"offline": offline, "allow_unlike": allow_unlike}
        embed_shards(arguments, path, settings, len(images), shards, on or "local")
    if launch or merge:
        if merge or begun_shards(path) or is_merging(path):  # else a finished file, which a process has looked at
            plan = _known_plan(images, model, settings)
            merge_shards(images, path, settings, plan, allow_unlike=allow_unlike, keep_shards=keep_shards)
        warn_if_many(load_features(path), listed_in(path))
        return path
    backbone = load_backbone(
        model, weights=weights, image_size=image_size, offline=offline, preset=preset, dataset=images.dataset
    )
    if shard is None:
        embed_images(images, backbone, path, settings)
    else:
        own, kind = (
            replace(settings, device=local_device(settings.device)),
            {"allow_unlike": allow_unlike, "keep_shards": keep_shards},
        )
        if not embed_shard(images, backbone, path, shard, own, **kind):
            return None
    warn_if_many(load_features(path), listed_in(path))
    return path


def _known_plan(images: ImageSet, model: str, settings: EmbedSettings) -> dict[str, Any]:
    """The part of the plan of shards that follows without the model."""
    same = {name: getattr(settings, name) for name in ("batch_size", "dtype", "seed", "max_pixels")}
    return {**plan_of(images), **same, "backbone": model, "n_views": settings.n_views or None}


def _variant(
    settings: EmbedSettings, limit: int | None, weights: Path | None, preset: str | None, image_size: int | None
) -> str:
    """The part of the file name that distinguishes a feature file from others of the same model and data."""
    views, seed = settings.n_views, settings.seed
    parts = [
        preset or "",
        f"{image_size}px" if image_size else "",
        f"n{limit}-s{seed}" if limit else "",
        weights.stem if weights else "",
        f"{views}views" if views else "",
        settings.augmentation if views and settings.augmentation != "standard" else "",
        f"s{seed}" if seed and not limit else "",
        "" if settings.dtype == "float32" else settings.dtype,
    ]
    return "".join(f"-{part}" for part in parts if part)
